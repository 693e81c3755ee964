//! What a node of a cluster knows of the cluster: `CLUSTER NODES`, read.
//!
//! Takes the text of the reply. Gives a [`View`]. Always holds: a line that is none is an error, so no node is overlooked;
//! a slot that is being moved is told from one that stays.

use std::collections::BTreeMap;

use crate::redis::topology::slots::SLOTS;

/// One node, as another (or itself) knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Its address, as announced; may be empty where it does not know its own.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Its name, where it announces one.
    pub(crate) name: Option<String>,
    /// The line is of the node that was asked.
    pub(crate) myself: bool,
    pub(crate) master: bool,
    /// A replica's master.
    pub(crate) master_id: Option<String>,
    /// The cluster agrees that it is down, or it was never met.
    pub(crate) down: bool,
    /// Grows with every slot that it takes over.
    pub(crate) epoch: u64,
    /// The slots that it has, first and last of each range.
    pub(crate) slots: Vec<(u16, u16)>,
    /// Slots that are being moved, to it or away; only known of the node that was asked.
    pub(crate) moving: Vec<u16>,
}

/// Who has which slots, since which epoch.
type Ownership<'v> = BTreeMap<&'v str, (u64, &'v [(u16, u16)])>;

/// All nodes, as one knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Entry>,
}

impl View {
    /// Reads the reply to `CLUSTER NODES`.
    ///
    /// # Errors
    /// The line that is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let nodes: Result<Vec<Entry>, String> = lines.map(|line| entry(line).ok_or_else(|| line.to_owned())).collect();
        Ok(Self { nodes: nodes? })
    }

    /// The node that was asked.
    pub(crate) fn myself(&self) -> Option<&Entry> {
        self.nodes.iter().find(|node| node.myself)
    }

    pub(crate) fn node(&self, id: &str) -> Option<&Entry> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The masters that have slots, in the order of their lowest one; then those that have none.
    pub(crate) fn masters(&self) -> Vec<&Entry> {
        let mut masters: Vec<&Entry> = self.nodes.iter().filter(|node| node.master).collect();
        masters.sort_by_key(|node| (node.slots.first().map_or(SLOTS, |(first, _)| *first), node.id.clone()));
        masters
    }

    /// The slots that no master has, as text; empty where there are none.
    pub(crate) fn uncovered(&self) -> String {
        let mut owned = vec![false; usize::from(SLOTS)];
        for (first, last) in self.nodes.iter().filter(|node| node.master).flat_map(|node| &node.slots) {
            owned[usize::from(*first)..=usize::from(*last)].fill(true);
        }
        ranges(owned.iter().enumerate().filter(|(_, owned)| !**owned).map(|(slot, _)| slot as u16))
    }

    /// What must stay the same for a reading of the whole cluster to be whole: who has which slots, since when.
    pub(crate) fn ownership(&self) -> Ownership<'_> {
        let owners = self.nodes.iter().filter(|node| node.master && !node.slots.is_empty());
        owners.map(|node| (&node.id[..], (node.epoch, &node.slots[..]))).collect()
    }
}

/// Slots in ascending order as text: `0-5, 9`.
pub(crate) fn ranges(slots: impl Iterator<Item = u16>) -> String {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for slot in slots {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => found.push((slot, slot)),
        }
    }
    let shown = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    found.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let (id, address, flags, master_id) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (_ping, _pong, epoch, _link) = (words.next()?, words.next()?, words.next()?.parse().ok()?, words.next()?);
    let mut parts = address.split(',');
    let (host, port) = parts.next()?.split('@').next()?.rsplit_once(':')?;
    // Behind the address stand a name, if any, and then words such as `shard-id=…`.
    let name = parts.next().filter(|name| !name.is_empty() && !name.contains('=') && *name != "?").map(str::to_owned);
    let flags: Vec<&str> = flags.split(',').collect();
    let has = |flag| flags.contains(&flag);
    let (mut slots, mut moving) = (Vec::new(), Vec::new());
    let number = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot < SLOTS);
    for word in words {
        if let Some(open) = word.strip_prefix('[') {
            moving.push(number(open.split('-').next()?)?);
            continue;
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        slots.push((number(first)?, number(last).filter(|last| number(first) <= Some(*last))?));
    }
    Some(Entry {
        id: id.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        name,
        myself: has("myself"),
        master: has("master"),
        master_id: Some(master_id.to_owned()).filter(|id| id != "-"),
        down: has("fail") || has("handshake") || has("noaddr"),
        epoch,
        slots,
        moving,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        b 127.0.0.1:7001@17001,host.b master - 0 1700000000000 2 connected 5461-10922\n\
        a :7000@17000 myself,master - 0 0 1 connected 0-5460 11000 [93->-b] [94-<-b]\n\
        c 10.0.0.3:7002@17002,,shard-id=xyz master,fail - 0 0 3 disconnected 10923-10999 11001-16382\n\
        d ::1:7003@17003 slave c 0 0 3 connected\n\
        e 10.0.0.5:7005@17005 master - 0 0 0 connected\n";

    #[test]
    fn a_view_is_read_whole() {
        let view = View::read(TEXT).expect("sound");
        let order: Vec<&str> = view.masters().iter().map(|node| &node.id[..]).collect();
        assert_eq!(order, ["a", "b", "c", "e"]);
        let a = view.myself().expect("asked");
        assert_eq!((&a.host[..], a.port, &a.moving[..]), ("", 7000, &[93, 94][..]));
        assert_eq!(a.slots, [(0, 5460), (11000, 11000)]);
        let node = |id| view.node(id).expect("it is there");
        let (b, c, d) = (node("b"), node("c"), node("d"));
        assert_eq!((b.name.as_deref(), c.name.as_deref(), c.down, &d.host[..]), (Some("host.b"), None, true, "::1"));
        assert_eq!((d.master, d.master_id.as_deref()), (false, Some("c")));
        assert_eq!(view.uncovered(), "16383");
    }

    #[test]
    fn what_is_no_view_is_an_error() {
        for line in [
            "a",
            "a x y - 0 0 0 connected",
            "a h:1 master - 0 0 0 connected 5-x",
            "a h:1 master - 0 0 0 connected 9-5",
            "a h:1 master - 0 0 0 connected 16384",
        ] {
            assert!(View::read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn slots_are_shown_as_ranges() {
        assert_eq!(ranges([0, 1, 2, 9, 11, 12].into_iter()), "0-2, 9, 11-12");
        assert_eq!(ranges(std::iter::empty()), "");
    }
}
