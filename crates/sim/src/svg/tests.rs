use crate::{DiskAfter, Fault, JobPlan, Options, Sim};

use super::canvas::{WIDTH, wide};

fn picture(nodes: usize) -> String {
    let mut sim = Sim::new(Options::calm(3, nodes, 2));
    sim.world.chronicle_on();
    // About two seconds of work, so that what goes wrong is in the picture.
    sim.submit(JobPlan::array(80 * nodes as u32, 50_000));
    sim.inject(1_000_000, Fault::Crash { node: 1, down_us: 2_000_000, disk: DiskAfter::Kept, power: false });
    sim.inject(500_000, Fault::Pause { node: 2, for_us: 400_000, suspend: true });
    sim.inject(600_000, Fault::Cut { side: vec![0, 1, 3], one_way: false, for_us: 800_000 });
    sim.inject(700_000, Fault::ClockJump { node: 3, by_us: 1_000 });
    sim.inject(700_100, Fault::ClockJump { node: 3, by_us: 1_000 });
    sim.run_until_done(60_000_000).unwrap();
    super::render(&sim.world, "a <test> & more")
}

const FEW: usize = 5;
const MANY: usize = 3 * super::DETAILED;

/// The value of an attribute in an element.
fn number(element: &str, name: &str) -> f64 {
    let from = element.split(&format!(" {name}=\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {element}"));
    from.split('"').next().unwrap().parse().unwrap()
}

fn count(svg: &str, class: &str) -> usize {
    svg.matches(&format!("class=\"{class}\"")).count()
}

#[test]
fn a_picture_has_its_parts_and_is_well_formed() {
    for nodes in [FEW, MANY] {
        let svg = picture(nodes);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt;test&gt; &amp; more · seed 3"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg, picture(nodes));
        // Each of these once in the legend, and where it took place.
        for class in ["x", "down", "pause", "sw"] {
            assert_eq!(count(&svg, class), 2, "{class} of {nodes} nodes");
        }
        // 0 and 1 lie next to each other, 3 does not.
        assert_eq!(count(&svg, "cut"), 3);
        assert_eq!(svg.matches(">cut off<").count(), 1);
    }
}

#[test]
fn steals_are_arrows_of_few_nodes_and_a_strip_of_many() {
    let (few, many) = (picture(FEW), picture(MANY));
    assert!(count(&few, "steal") > 1 && count(&few, "moved") == 0);
    assert!(count(&many, "steal") == 0 && count(&many, "moved") > 1);
    assert!(few.contains(">steal<") && !many.contains(">steal<"));
    assert!(many.contains("each row is 2 nodes") && !few.contains("each row"));
}

#[test]
fn the_legend_names_what_is_there_and_nothing_else() {
    let svg = picture(FEW);
    for (class, name) in
        [("d0", "done"), ("d1", "done, every other job"), ("fa", "failed"), ("disk", "disk full or slow")]
    {
        assert_eq!(count(&svg, class) > 0, svg.contains(&format!(">{name}<")), "{name}");
    }
    assert!(svg.contains(">done<") && !svg.contains(">failed<"));
}

#[test]
fn what_comes_after_the_last_job_is_neither_shown_nor_named() {
    let mut sim = Sim::new(Options::calm(3, FEW, 2));
    sim.world.chronicle_on();
    sim.submit(JobPlan::array(40, 50_000));
    sim.inject(20_000_000, Fault::Crash { node: 1, down_us: 2_000_000, disk: DiskAfter::Kept, power: false });
    sim.run_until(30_000_000).unwrap();
    let svg = super::render(&sim.world, "short");
    assert!(count(&svg, "x") == 0 && !svg.contains(">crash<"));
}

#[test]
fn no_text_leaves_the_picture_and_words_of_a_row_do_not_overlap() {
    for nodes in [FEW, MANY] {
        let svg = picture(nodes);
        let mut words: Vec<(f64, f64, f64)> = Vec::new();
        for line in svg.lines().filter(|l| l.starts_with("<text ")) {
            let text = line.split('>').nth(1).unwrap().split('<').next().unwrap();
            let (x, y, w) = (number(line, "x"), number(line, "y"), wide(text));
            let (from, until) = match line.split("class=\"").nth(1).unwrap().split('"').next().unwrap() {
                class if class.starts_with('r') => (x - w, x),
                "s m" => (x - w / 2.0, x + w / 2.0),
                "on" => {
                    assert!(!words.iter().any(|o| o.2 == y && o.0 < x + w && x < o.1), "{line}");
                    words.push((x, x + w, y));
                    (x, x + w)
                }
                _ => (x, x + w),
            };
            assert!(from >= 0.0 && until <= WIDTH, "{line}");
        }
    }
}
