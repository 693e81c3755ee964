//! What a node's parts and its owner share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::events::Event;
use super::{Image, NodeOptions};

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Working,
    CutOff,
    Lost,
}

/// A pod that the node has taken.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) events: UnboundedSender<Event>,
    pub(super) worker: JoinHandle<()>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) images: BTreeMap<String, Image>,
    /// By the pod's uid.
    pub(super) pods: HashMap<String, Known>,
    /// By namespace, pod and container: the id on this machine.
    pub(super) processes: BTreeMap<(String, String, String), i32>,
}

/// A node's data.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: NodeOptions,
    pub(super) folder: PathBuf,
    pub(super) kubeconfig: PathBuf,
    /// Of the API server.
    pub(super) port: u16,
    pub(super) stop: CancellationToken,
    pub(super) turned: Notify,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(options: NodeOptions, folder: PathBuf, kubeconfig: PathBuf, port: u16) -> Self {
        let state = State {
            mode: Mode::Working,
            images: options.images.clone(),
            pods: HashMap::new(),
            processes: BTreeMap::new(),
        };
        let (stop, turned) = (CancellationToken::new(), Notify::new());
        Self { options, folder, kubeconfig, port, stop, turned, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(&self, mode: Mode) {
        self.state().mode = mode;
        self.turned.notify_one();
    }

    /// Whether it hears and reports.
    pub(super) fn connected(&self) -> bool {
        self.state().mode == Mode::Working
    }

    pub(super) fn logs(&self, namespace: &str, pod: &str) -> PathBuf {
        self.folder.join("logs").join(namespace).join(pod)
    }
}
