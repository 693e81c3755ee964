//! Which resources the operator cannot read.
//!
//! Takes what the watches find. Gives their names for metrics: what is in no store is in no other series, and no other alert would miss it. Always
//! holds: what can be read again, or has gone, is no longer among them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kube::Resource;
use kube::runtime::watcher::Event;

use crate::guarded::Guarded;

/// One that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Its kind's group: there are Tasks and Functions of two.
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Name {
    fn of<K: Resource<DynamicType = ()>>(one: &Guarded<K>) -> Self {
        let meta = one.meta();
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        Self { group: K::group(&()).into_owned(), kind: K::kind(&()).into_owned(), namespace, name }
    }

    fn is_a<K: Resource<DynamicType = ()>>(&self) -> bool {
        self.group == K::group(&()) && self.kind == K::kind(&())
    }
}

/// Those that cannot be read, and whether they were seen since their kind was last listed.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeMap<Name, bool>>);

impl Unread {
    /// What an event says of its resource, or of its kind.
    pub(super) fn hear<K: Resource<DynamicType = ()>>(&self, event: &Event<Guarded<K>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => all.iter_mut().filter(|(one, _)| one.is_a::<K>()).for_each(|(_, seen)| *seen = false),
            Event::InitDone => all.retain(|one, seen| !one.is_a::<K>() || *seen),
            Event::Apply(one) | Event::InitApply(one) if one.0.is_err() => {
                all.insert(Name::of(one), true);
            }
            Event::Apply(one) | Event::InitApply(one) | Event::Delete(one) => {
                all.remove(&Name::of(one));
            }
        }
    }

    /// Those that cannot be read.
    pub(super) fn all(&self) -> Vec<Name> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::app_binding::AppBinding;
    use crate::resources::own::OwnTask;
    use crate::resources::task::Task;

    fn one(name: &str, url: &str) -> Guarded<AppBinding> {
        let text = format!(r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"clientConfig": {{"url": {url}}}}}}}"#);
        serde_json::from_str(&text).expect("it is guarded")
    }

    #[test]
    fn what_can_be_read_again_or_has_gone_is_not_among_them() {
        let unread = Unread::default();
        let names = || unread.all().into_iter().map(|one| one.name).collect::<Vec<_>>();
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

    #[test]
    fn kinds_of_one_name_are_two() {
        let unread = Unread::default();
        let odd = r#"{"metadata": {"name": "odd"}, "spec": 7}"#;
        unread.hear(&Event::Apply(serde_json::from_str::<Guarded<OwnTask>>(odd).expect("it is guarded")));
        unread.hear::<Task>(&Event::Init);
        unread.hear::<Task>(&Event::InitDone);
        assert_eq!(unread.all().len(), 1);
        unread.hear::<OwnTask>(&Event::Init);
        unread.hear::<OwnTask>(&Event::InitDone);
        assert_eq!(unread.all().len(), 0);
    }
}
