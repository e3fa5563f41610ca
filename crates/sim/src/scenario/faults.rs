//! The faults of a scenario: at their times, one after another, or drawn.

use toml::Spanned;

use super::build::Builder;
use super::error::Invalid;
use super::file::{Churn, Cut, DiskThen, File, OneFault};
use super::units::{Time, Who};
use crate::fault::{DiskAfter, Fault, Planned};

/// Faults of one scenario.
const MAX_FAULTS: usize = 100_000;

impl From<DiskThen> for DiskAfter {
    fn from(disk: DiskThen) -> Self {
        match disk {
            DiskThen::Kept => DiskAfter::Kept,
            DiskThen::Wiped => DiskAfter::Wiped,
            DiskThen::RolledBack => DiskAfter::RolledBack,
        }
    }
}

/// Every fault of the file, earliest first.
pub(super) fn all(b: &mut Builder<'_>, file: &File) -> Result<Vec<Planned>, Invalid> {
    let mut out = Vec::new();
    for fault in &file.faults {
        one(b, fault, &mut out)?;
        if out.len() > MAX_FAULTS {
            return b.no(fault.span(), format!("more than {MAX_FAULTS} faults"));
        }
    }
    if let Some(churn) = &file.churn {
        deaths(b, churn, &mut out)?;
    }
    out.sort_by_key(|p| p.at);
    Ok(out)
}

/// A fault for each of its nodes, all at once or `every` so often.
fn one(b: &mut Builder<'_>, spanned: &Spanned<OneFault>, out: &mut Vec<Planned>) -> Result<(), Invalid> {
    let f = spanned.get_ref();
    let mut kinds = 0;
    let mut each = |b: &mut Builder<'_>, who: &Spanned<Who>, fault: &dyn Fn(usize) -> Fault| {
        kinds += 1;
        for (n, node) in b.these(who)?.into_iter().enumerate() {
            out.push(Planned { at: f.at.0 + n as u64 * f.every.map_or(0, |t| t.0), fault: fault(node) });
        }
        Ok(())
    };
    if let Some(c) = &f.crash {
        let (down_us, disk, power) = (c.down.0, c.disk.into(), c.power);
        each(b, &c.node, &|node| Fault::Crash { node, down_us, disk, power })?;
    }
    if let Some(p) = &f.pause {
        let (for_us, suspend) = (p.during.0, p.suspend);
        each(b, &p.node, &|node| Fault::Pause { node, for_us, suspend })?;
    }
    if let Some(d) = &f.disk_full {
        each(b, &d.node, &|node| Fault::DiskFull { node, for_us: d.during.0 })?;
    }
    if let Some(d) = &f.disk_slow {
        each(b, &d.node, &|node| Fault::DiskSlow { node, factor: d.times.max(1), for_us: d.during.0 })?;
    }
    if let Some(r) = &f.bit_rot {
        each(b, &r.node, &|node| Fault::BitRot { node })?;
    }
    if let Some(r) = &f.row_rot {
        each(b, &r.node, &|node| Fault::RowRot { node })?;
    }
    if let Some(j) = &f.clock_jump {
        each(b, &j.node, &|node| Fault::ClockJump { node, by_us: j.by.0 })?;
    }
    if let Some(d) = &f.drain {
        each(b, &d.node, &|node| Fault::Drain { node, back_us: d.back.map(|t| t.0) })?;
    }
    if let Some(s) = &f.sick {
        each(b, &s.node, &|node| Fault::Sick { node, for_us: s.during.0 })?;
    }
    if let Some(a) = &f.forge {
        each(b, &a.node, &|node| Fault::Forge { node })?;
    }
    if let Some(l) = &f.leave {
        each(b, &l.node, &|node| Fault::Leave { node })?;
    }
    for fault in links(b, f)? {
        kinds += 1;
        out.push(Planned { at: f.at.0, fault });
    }
    match kinds {
        1 => Ok(()),
        0 => b.no(spanned.span(), "this [[fault]] does not say what happens: `crash`, `pause`, `cut`, `loss`, …"),
        _ => b.no(spanned.span(), "a [[fault]] is one thing; write another [[fault]] for the other"),
    }
}

/// Faults of links, which are no single node's.
fn links(b: &mut Builder<'_>, f: &OneFault) -> Result<Vec<Fault>, Invalid> {
    let mut out = Vec::new();
    if let Some(cut) = &f.cut {
        out.push(cut_of(b, cut)?);
    }
    if let Some(c) = &f.clog {
        let [x, y] = *c.between.get_ref();
        if x == y || x.max(y) >= b.nodes {
            return b.no(c.between.span(), format!("two different nodes of 0 to {} are meant", b.nodes - 1));
        }
        out.push(Fault::Clog { a: x, b: y, extra_us: c.extra.0, for_us: c.during.0 });
    }
    if let Some(l) = &f.loss {
        out.push(Fault::Loss { ppm: l.share.0, for_us: l.during.0 });
    }
    Ok(out)
}

fn cut_of(b: &mut Builder<'_>, spanned: &Spanned<Cut>) -> Result<Fault, Invalid> {
    let cut = spanned.get_ref();
    let side = b.these(&cut.side)?;
    let Some(from) = &cut.from else {
        if (0..b.nodes).all(|n| side.contains(&n)) {
            return b.no(cut.side.span(), "all nodes are on this side of the cut: nobody is left on the other");
        }
        return Ok(Fault::Cut { side, one_way: cut.one_way, for_us: cut.during.0 });
    };
    let other = b.these(from)?;
    if let Some(both) = side.iter().find(|n| other.contains(n)) {
        return b.no(from.span(), format!("node {both} is on both sides of the cut"));
    }
    if cut.one_way {
        return b.no(spanned.span(), "a cut with `from` is always both ways");
    }
    Ok(Fault::Split { side, from: other, for_us: cut.during.0 })
}

/// A share of the nodes dies at times that the seed draws.
fn deaths(b: &mut Builder<'_>, spanned: &Spanned<Churn>, out: &mut Vec<Planned>) -> Result<(), Invalid> {
    let churn = spanned.get_ref();
    let from = churn.from.unwrap_or_default();
    let until: Time = *churn.until.get_ref();
    if until <= from {
        return b.no(churn.until.span(), "`until` comes after `from`");
    }
    let spared = match &churn.spare {
        Some(who) => b.these(who)?,
        None => Vec::new(),
    };
    let mut nodes: Vec<usize> = (0..b.nodes).filter(|n| !spared.contains(n)).collect();
    b.dice.shuffle(&mut nodes);
    let count = (b.nodes as u64 * u64::from(churn.deaths.get_ref().0)).div_ceil(1_000_000) as usize;
    if count > nodes.len() {
        return b.no(churn.deaths.span(), "more deaths than nodes that are not spared");
    }
    for &node in &nodes[..count] {
        let at = b.dice.between(from.0, until.0);
        let fault = match churn.back {
            Some(back) => Fault::Crash { node, down_us: back.0, disk: churn.disk.into(), power: churn.power },
            None => Fault::Leave { node },
        };
        out.push(Planned { at, fault });
    }
    Ok(())
}
