//! Recorded runs can be written, read and repeated; what cannot be repeated is refused with a sentence.

use filch_core::Mutant;
use filch_sim::schedule::{FORMAT, VERSION};
use filch_sim::{Options, Profile, Schedule};

fn recorded() -> Schedule {
    Schedule::record("a test", Options::draw(Profile::Crash, 3))
}

fn refusal(text: &str) -> String {
    Schedule::parse(text).map(|s| s.about).expect_err("refused").to_string()
}

#[test]
fn what_was_recorded_is_read_and_repeated() {
    let first = recorded();
    let read = Schedule::parse(&first.to_text()).expect("its own text");
    assert_eq!(first, read);
    let replay = read.replay();
    assert!(replay.as_recorded(), "{replay}");
    assert_eq!(replay.to_string(), "every rule held, as recorded");
}

#[test]
fn every_profile_survives_the_way_through_text() {
    for profile in Profile::ALL {
        for seed in 0..20 {
            let options = Options::draw(profile, seed);
            options.check().unwrap_or_else(|e| panic!("{} {seed}: {e}", profile.name()));
            let text = serde_json::to_string(&options).expect("written");
            assert_eq!(serde_json::from_str::<Options>(&text).expect("read"), options);
        }
    }
}

#[test]
fn a_broken_rule_is_recorded_and_breaks_again() {
    let options = Options { mutant: Some(Mutant::NoSignatureCheck), ..Options::draw(Profile::Swarm, 0) };
    let seeds = (0..200).map(|seed| Options { mutant: options.mutant, ..Options::draw(Profile::Swarm, seed) });
    let found = seeds.map(|o| Schedule::record("planted", o)).find(|s| s.ended.broke.is_some());
    let replay = found.expect("a planted bug breaks some seed").replay();
    assert!(replay.as_recorded() && replay.violation.is_some(), "{replay}");
}

#[test]
fn another_format_says_so() {
    let text = recorded().to_text().replacen(&format!("\"format\": {FORMAT}"), "\"format\": 99, \"news\": []", 1);
    let text = text.replacen(VERSION, "9.8.7", 1);
    assert_eq!(
        refusal(&text),
        format!(
            "the schedule has format 99 (recorded by filch 9.8.7), this is filch {VERSION}, which reads format {FORMAT}: \
             replay it with filch 9.8.7"
        )
    );
}

#[test]
fn another_version_is_refused_only_where_it_matters() {
    let recorded = recorded();
    let other = recorded.to_text().replacen(VERSION, "9.8.7", 1);
    let said = refusal(&other);
    assert!(said.contains("recorded by filch 9.8.7") && said.contains("remove its `digest`"), "{said}");
    let lasting = recorded.without_digest().to_text().replacen(VERSION, "9.8.7", 1);
    assert_eq!(Schedule::parse(&lasting).expect("a schedule that outlives versions").ended.broke, None);
}

#[test]
fn what_is_wrong_is_named() {
    let good = recorded().without_digest();
    let mut fault = good.clone();
    fault.options.faults[0].fault = filch_sim::Fault::Leave { node: 99 };
    let last = good.options.nodes.len() - 1;
    assert_eq!(
        refusal(&fault.to_text()),
        format!("the schedule cannot be run: fault 0: `node` is 99, the last node is {last}")
    );
    let mut empty = good.clone();
    empty.options.nodes.clear();
    assert!(refusal(&empty.to_text()).ends_with("`nodes` is empty"));
    let typo = good.to_text().replacen("\"profile\"", "\"profil\"", 1);
    let said = refusal(&typo);
    assert!(said.contains("unknown field `profil`") && said.contains("line "), "{said}");
    assert!(refusal("{}").contains("missing field `format`"));
    assert!(refusal("").starts_with("not a recorded schedule: EOF"));
}
