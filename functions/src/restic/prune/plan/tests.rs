//! What is decided, on indexes made by hand.

use super::*;
use crate::restic::index_file::IndexedPack;

fn id(name: &str) -> Id {
    crate::restic::seal::id_of(name.as_bytes())
}

/// A pack of data blobs by their names, each of a mebibyte, and its size in the store.
fn pack(name: &str, blobs: &[&str]) -> (IndexedPack, u64) {
    let blob = |(number, name): (usize, &&str)| {
        let offset = (number as u32) << 20;
        IndexedBlob { id: id(name), kind: BlobType::Data, offset, length: 1 << 20, unpacked: 0 }
    };
    let pack = IndexedPack { id: id(name), blobs: blobs.iter().enumerate().map(blob).collect() };
    let size = pack.length();
    (pack, size)
}

struct Made {
    catalog: Catalog,
    stored: HashMap<Id, u64>,
}

fn made(packs: &[(&str, &[&str])]) -> Made {
    let mut made = Made { catalog: Catalog::default(), stored: HashMap::new() };
    for (name, blobs) in packs {
        let (pack, size) = pack(name, blobs);
        made.stored.insert(pack.id, size);
        made.catalog.add(pack, false);
    }
    made
}

impl Made {
    fn plan(&self, used: &[&str], bounds: Bounds) -> Result<Plan, Failure> {
        let used = Used { data: used.iter().map(|name| id(name)).collect(), ..Used::default() };
        decide(&self.catalog, used, &self.stored, &bounds)
    }

    /// What becomes of each pack: `-` goes, `=` stays, and the number of blobs that are copied.
    fn fates(&self, used: &[&str], bounds: Bounds) -> String {
        let plan = self.plan(used, bounds).expect("a plan");
        let letter = |fate: &Fate| match fate {
            Fate::Keep => "=".to_owned(),
            Fate::Remove => "-".to_owned(),
            Fate::Repack(live) => live.len().to_string(),
        };
        plan.fates.iter().map(letter).collect()
    }
}

const ALL: Bounds =
    Bounds { max_repack: None, max_unused: Leftover::Bytes(0), repack_small: false, allow_empty: false };

#[test]
fn packs_go_stay_or_are_copied_from() {
    let made = made(&[("p", &["a", "b"]), ("q", &["c", "d"]), ("r", &["e", "f"])]);
    assert_eq!(made.fates(&["a", "b", "c"], ALL), "=1-");
    assert_eq!(made.fates(&[], ALL), "---");
    let plan = made.plan(&["a", "b", "c"], ALL).expect("a plan");
    assert_eq!((plan.removable, plan.rubbish, plan.left), (pack("r", &["e", "f"]).1, 1 << 20, 0));
}

#[test]
fn of_several_copies_the_one_with_the_least_rubbish_stays() {
    // The second pack is what an earlier run copied out of the first one.
    let one = made(&[("old", &["a", "b", "x"]), ("copied", &["a", "b"])]);
    assert_eq!(one.fates(&["a", "b"], ALL), "-=");
    let plan = one.plan(&["a"], ALL).expect("a plan");
    let relied_on: Vec<(Id, Id)> = plan.relied_on.iter().map(|(pack, blob)| (*pack, blob.id)).collect();
    assert_eq!(relied_on, [(id("copied"), id("a"))], "what is removed elsewhere, and is needed");
    let half = made(&[("old", &["a", "b", "x"]), ("copied", &["a"])]);
    assert_eq!(half.fates(&["a", "b"], ALL), "1=");
    // Twice the same: exactly one stays.
    let twins = made(&[("one", &["a", "b"]), ("two", &["a", "b"])]);
    assert_eq!(twins.fates(&["a", "b"], ALL).chars().filter(|fate| *fate == '=').count(), 1);
}

#[test]
fn what_was_copied_once_is_not_copied_again() {
    // `a` is in two packs. What is left of one of them was copied by an earlier run.
    let before = made(&[("p", &["a", "b"]), ("q", &["a", "c"])]);
    let used = ["a", "b", "c"];
    let plan = before.plan(&used, ALL).expect("a plan");
    assert_eq!(plan.repack.len(), 1, "one of them is copied from");
    let copied = if plan.repack == [0] { "b" } else { "c" };
    let after = made(&[("p", &["a", "b"]), ("q", &["a", "c"]), ("n", &[copied])]);
    let plan = after.plan(&used, ALL).expect("a plan");
    assert_eq!((plan.repack.len(), plan.left, plan.fates[2].clone()), (0, 0, Fate::Keep), "{plan:?}");
    assert_eq!(plan.fates.iter().filter(|fate| **fate == Fate::Remove).count(), 1);
}

#[test]
fn what_is_marked_is_taken_back_only_where_it_is_needed() {
    let mut made = made(&[("p", &["a"])]);
    for (name, blobs) in [("again", &["a"][..]), ("last", &["b", "c"][..])] {
        let (pack, size) = pack(name, blobs);
        made.stored.insert(pack.id, size);
        made.catalog.add(pack, true);
    }
    assert_eq!(made.fates(&["a", "b"], ALL), "=-1");
}

#[test]
fn what_is_missing_stops_everything() {
    let mut made = made(&[("p", &["a", "b"]), ("q", &["c"])]);
    for (used, what) in [(&["a", "z"][..], "does not know the blob"), (&["c"][..], "is not there or too short")] {
        if used == ["c"] {
            made.stored.insert(id("q"), (1 << 20) + 72);
        }
        let failure = made.plan(used, ALL).expect_err("damaged");
        assert!(failure.message.contains(what) && failure.message.contains("nothing was pruned"), "{failure:?}");
    }
    // What nobody needs may be missing.
    assert_eq!(made.fates(&["a", "b"], ALL), "=-");
}

#[test]
fn bounds_leave_what_is_worth_least() {
    let made = made(&[("p", &["a", "b", "c", "x"]), ("q", &["d", "x2", "x3", "x4"]), ("r", &["e", "f", "g", "h"])]);
    let used = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert_eq!(made.fates(&used, ALL), "31=");
    // Most of the rubbish for the least copying comes first.
    assert_eq!(made.fates(&used, Bounds { max_repack: Some(1 << 20), ..ALL }), "=1=");
    assert_eq!(made.fates(&used, Bounds { max_repack: Some((1 << 20) - 1), ..ALL }), "===");
    assert_eq!(made.fates(&used, Bounds { max_unused: Leftover::Bytes(1 << 20), ..ALL }), "=1=");
    assert_eq!(made.fates(&used, Bounds { max_unused: Leftover::Unlimited, ..ALL }), "===");
    // One of nine is 11.1 percent of what is there afterwards.
    assert_eq!(made.fates(&used, Bounds { max_unused: Leftover::Percent(11.2), ..ALL }), "=1=");
    assert_eq!(made.fates(&used, Bounds { max_unused: Leftover::Percent(11.0), ..ALL }), "31=");
}

#[test]
fn small_packs_become_large_ones_where_that_is_wanted_and_there_are_several() {
    let small = Bounds { repack_small: true, ..ALL };
    let two = made(&[("p", &["a"]), ("q", &["b"])]);
    assert_eq!(two.fates(&["a", "b"], small), "11");
    assert_eq!(two.fates(&["a", "b"], ALL), "==");
    assert_eq!(made(&[("p", &["a"])]).fates(&["a"], small), "=");
    // Where the bound lets only one through, it would be written as it is, run after run.
    assert_eq!(two.fates(&["a", "b"], Bounds { max_repack: Some(1 << 20), ..small }), "==");
    // Together with what is left of another it makes a larger one.
    let other = made(&[("p", &["a"]), ("q", &["b", "x"])]);
    assert_eq!(other.fates(&["a", "b"], small), "11");
}

#[test]
fn packs_that_no_index_names_go() {
    let mut made = made(&[("p", &["a"])]);
    made.stored.insert(id("stray"), 77);
    let plan = made.plan(&["a"], ALL).expect("a plan");
    assert_eq!((plan.unindexed, plan.removable), (vec![(id("stray"), 77)], 77));
}
