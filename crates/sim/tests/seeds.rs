//! Seeds that broke a rule once. Most of what they found took thousands of others to find. (Drawing options in another way
//! makes other runs of them: an exact test in `core` guards what matters most.)

mod common;

use filch_sim::Profile;

#[test]
fn seeds_that_broke_a_rule_once() {
    let once: [(Profile, &str, &[u64]); 18] = [
        (Profile::FaultFree, "S11: a retry was granted before the ack of the failure", &[290, 885, 200595, 201370]),
        (Profile::Swarm, "L1: a steward that lost its round was told by nobody", &[10260, 201600]),
        (Profile::Crash, "L1: the same", &[200006]),
        (Profile::Swarm, "L1: the last copy did not know that it is in R", &[71016]),
        (Profile::Swarm, "L1: the run was taken for settled before it began", &[40647]),
        (Profile::Crash, "L1: a task counted as done and as skipped", &[200603]),
        (Profile::Swarm, "L3: a member without a copy answered as if it had one", &[2299]),
        (Profile::Swarm, "L3: packs for members that are gone barred a copy", &[50056]),
        (Profile::Swarm, "L4: a repair took minutes though a client waited", &[50491, 80322, 81150, 202264]),
        (Profile::Minimal, "L4: a delete of what nobody keeps", &[200178]),
        (Profile::Swarm, "L6: nobody told a helper of the delete", &[60244, 81014]),
        (Profile::Swarm, "L7: helpers of jobs that nobody keeps, or that are cancelled", &[2463, 10098]),
        (Profile::Crash, "L7: the same", &[200493]),
        (Profile::OverBudget, "S9: a cancel of what nobody holds any more", &[201257]),
        (Profile::Swarm, "L1: a drained node had a commit left", &[212055]),
        (Profile::Swarm, "S12: an attempt was charged for what was said of an earlier one", &[210302]),
        (Profile::Crash, "S12: a launch that was next in its slot was charged", &[231065, 232058]),
        (Profile::Swarm, "S12: a launch that waited for its inputs was charged", &[212118]),
    ];
    for (profile, _why, seeds) in once {
        for seed in seeds {
            common::sweep(profile, *seed, 1);
        }
    }
}
