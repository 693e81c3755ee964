//! What the operator counts of itself.
//!
//! Always holds: counting waits for nothing but another count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::exposition::Exposition;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    seen: AtomicBool,
    leads: AtomicBool,
    reconciled: Mutex<BTreeMap<&'static str, Reconciled>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Reconciled {
    succeeded: u64,
    failed: u64,
    seconds: f64,
}

impl Counts {
    /// The cluster has been seen.
    pub(super) fn has_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }

    /// Whether the cluster has been seen.
    pub(super) fn is_ready(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    pub(super) fn reconciled(&self, controller: &'static str, succeeded: bool, took: Duration) {
        let mut all = self.reconciled.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.entry(controller).or_default();
        *(if succeeded { &mut one.succeeded } else { &mut one.failed }) += 1;
        one.seconds += took.as_secs_f64();
    }

    pub(super) fn expose(&self, to: &mut Exposition) {
        let leads = f64::from(u8::from(self.leads.load(Ordering::Relaxed)));
        to.gauge("aquifer_operator_leader", "Whether this one leads.", &[], leads);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.gauge("aquifer_operator_build_info", "The operator's version.", &version, 1.0);
        let all = self.reconciled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (controller, one) in all {
            for (result, times) in [("success", one.succeeded), ("error", one.failed)] {
                let labels = [("controller", controller), ("result", result)];
                let help = "How often a resource was looked at.";
                to.counter("aquifer_operator_reconciles_total", help, &labels, times as f64);
            }
            let labels = [("controller", controller)];
            let help = "How long that took in all, in seconds.";
            to.counter("aquifer_operator_reconcile_seconds_sum", help, &labels, one.seconds);
            let help = "How often that was measured.";
            to.counter("aquifer_operator_reconcile_seconds_count", help, &labels, (one.succeeded + one.failed) as f64);
        }
        if let Some(bytes) = resident() {
            to.gauge("process_resident_memory_bytes", "Memory in use, in bytes.", &[], bytes);
        }
    }
}

/// The memory that this process has, by what Linux tells.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kilobytes) * 1024.0)
}
