//! Whole nodes in this process, on loopback and in temporary directories, through their HTTP API.

mod api;
mod world;

use std::future::Future;

use libtest_mimic::{Arguments, Failed, Trial};

mod functions;
mod jobs;
mod lives;
mod refusals;

fn trial<F, Fut>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Failed::from(e.to_string()))?;
        runtime.block_on(async {
            // A cluster that does not get anywhere fails instead of standing still.
            let limit = std::time::Duration::from_secs(120);
            tokio::time::timeout(limit, test()).await.map_err(|_| Failed::from("no end within two minutes"))
        })
    })
}

fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some("__spawner") {
        filch_node::spawner_main();
    }
    let mut arguments = Arguments::from_args();
    // Every test runs several nodes.
    arguments.test_threads.get_or_insert(2);
    let trials = vec![
        trial("an_array_of_noops_on_one_node", jobs::an_array_of_noops_on_one_node),
        trial("two_nodes_share_a_job", jobs::two_nodes_share_a_job),
        trial("files_travel_and_come_back", jobs::files_travel_and_come_back),
        trial("a_failed_task_keeps_its_output", jobs::a_failed_task_keeps_its_output),
        trial("a_node_that_keeps_nothing_reads_along", jobs::a_node_that_keeps_nothing_reads_along),
        trial("ordered_results_continue_behind_a_cursor", jobs::ordered_results_continue_behind_a_cursor),
        trial("a_cancelled_job_accounts_for_every_task", jobs::a_cancelled_job_accounts_for_every_task),
        trial("an_embedding_program_adds_functions", functions::an_embedding_program_adds_functions),
        trial("divided_tasks_say_what_their_parts_counted", functions::divided_tasks_say_what_their_parts_counted),
        trial("a_restart_keeps_everything", lives::a_restart_keeps_everything),
        trial("delivery_goes_on_after_a_restart", lives::delivery_goes_on_after_a_restart),
        trial("down_hands_work_back", lives::down_hands_work_back),
        trial("a_second_node_on_a_directory_is_refused", lives::a_second_node_on_a_directory_is_refused),
        trial("a_damaged_blob_index_is_made_again", lives::a_damaged_blob_index_is_made_again),
        trial("damaged_results_come_back_from_the_other_node", lives::damaged_results_come_back_from_the_other_node),
        trial("what_nobody_reads_is_looked_at", lives::what_nobody_reads_is_looked_at),
        trial("a_ledger_with_a_rotten_row_loses_that_row_only", lives::a_ledger_with_a_rotten_row_loses_that_row_only),
        trial(
            "blobs_of_a_job_that_nobody_knows_are_released_at_the_start",
            lives::blobs_of_a_job_that_nobody_knows_are_released_at_the_start,
        ),
        trial("a_store_without_its_ledger_is_another_one", lives::a_store_without_its_ledger_is_another_one),
        trial("bad_requests_are_problems", refusals::bad_requests_are_problems),
        trial("blobs_and_files_go_in_and_out", refusals::blobs_and_files_go_in_and_out),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
