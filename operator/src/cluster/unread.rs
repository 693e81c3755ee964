//! Which resources the operator cannot read.
//!
//! Takes what the watches find. Gives their names for metrics: what is in no store is in no other series, and no other alert would miss it. Always
//! holds: what can be read again, or has gone, is no longer among them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kube::Resource;
use kube::runtime::watcher::Event;

use crate::guarded::Guarded;

/// A kind, a namespace and a name.
type Key = (String, String, String);

/// Those that cannot be read, and whether they were seen since their kind was last listed.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeMap<Key, bool>>);

impl Unread {
    /// What an event says of its resource, or of its kind.
    pub(super) fn hear<K: Resource<DynamicType = ()>>(&self, event: &Event<Guarded<K>>) {
        let kind = K::kind(&());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => all.iter_mut().filter(|(key, _)| key.0 == kind).for_each(|(_, seen)| *seen = false),
            Event::InitDone => all.retain(|key, seen| key.0 != kind || *seen),
            Event::Apply(one) | Event::InitApply(one) if one.0.is_err() => {
                all.insert(key(one), true);
            }
            Event::Apply(one) | Event::InitApply(one) | Event::Delete(one) => {
                all.remove(&key(one));
            }
        }
    }

    /// Those that cannot be read: kind, namespace and name.
    pub(super) fn all(&self) -> Vec<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

fn key<K: Resource<DynamicType = ()>>(one: &Guarded<K>) -> Key {
    let meta = one.meta().clone();
    (K::kind(&()).into_owned(), meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::app_binding::AppBinding;

    fn one(name: &str, url: &str) -> Guarded<AppBinding> {
        let text = format!(r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"clientConfig": {{"url": {url}}}}}}}"#);
        serde_json::from_str(&text).expect("it is guarded")
    }

    #[test]
    fn what_can_be_read_again_or_has_gone_is_not_among_them() {
        let unread = Unread::default();
        let names = || unread.all().into_iter().map(|(_, _, name)| name).collect::<Vec<_>>();
        unread.hear::<AppBinding>(&Event::Init);
        for name in ["a", "b", "c"] {
            unread.hear(&Event::InitApply(one(name, "7")));
        }
        unread.hear(&Event::InitApply(one("sound", "\"redis://r\"")));
        unread.hear::<AppBinding>(&Event::InitDone);
        assert_eq!(names(), ["a", "b", "c"]);
        unread.hear(&Event::Apply(one("a", "\"redis://r\"")));
        unread.hear(&Event::Delete(one("b", "7")));
        unread.hear(&Event::Apply(one("d", "7")));
        assert_eq!(names(), ["c", "d"]);
        // One that went while nobody watched.
        unread.hear::<AppBinding>(&Event::Init);
        assert_eq!(names(), ["c", "d"], "none is missed while they are listed");
        unread.hear(&Event::InitApply(one("d", "7")));
        unread.hear::<AppBinding>(&Event::InitDone);
        assert_eq!(names(), ["d"]);
    }
}
