//! A service that is known only after a login, under the face of one that is there.
//!
//! Always holds: the login is made by the first request that needs it, and once; one that fails fails that request alone, and the next
//! asks again, so that waiting and trying again are those of every other request.

use std::sync::Arc;

use opendal::raw::{
    OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRead, RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Operator, Result};
use tokio::sync::OnceCell;

use super::login::Account;

/// Stands for the address that is not known yet. Nothing is sent there: it is in a domain that never exists.
const NOWHERE: &str = "https://s3.nowhere.invalid";

#[derive(Debug)]
struct Entrance {
    account: Account,
    service: OnceCell<Servicer>,
}

impl Entrance {
    async fn service(&self) -> Result<&Servicer> {
        self.service.get_or_try_init(|| self.account.enter()).await
    }
}

/// The operator of an account. Nothing is sent yet.
///
/// # Errors
/// The library cannot be set up.
pub(super) fn operator(account: Account) -> Result<Operator> {
    let capability = account.service_at(NOWHERE, "nowhere")?.capability_dyn();
    let entrance = Arc::new(Entrance { account, service: OnceCell::new() });
    Ok(Operator::from_parts(OperationContext::new(), Arc::new(Late { entrance, capability })))
}

#[derive(Debug)]
struct Late {
    entrance: Arc<Entrance>,
    capability: Capability,
}

type Make<T> = Box<dyn Fn(&Servicer) -> Result<T> + Send + Sync>;

/// What one operation needs of the service, made with its first request.
struct Awaited<T> {
    entrance: Arc<Entrance>,
    make: Make<T>,
    made: Option<T>,
}

impl<T> Awaited<T> {
    async fn get(&mut self) -> Result<&mut T> {
        let made = match self.made.take() {
            Some(made) => made,
            None => (self.make)(self.entrance.service().await?)?,
        };
        Ok(self.made.insert(made))
    }
}

impl Late {
    fn awaited<T>(&self, make: impl Fn(&Servicer) -> Result<T> + Send + Sync + 'static) -> Awaited<T> {
        Awaited { entrance: Arc::clone(&self.entrance), make: Box::new(make), made: None }
    }
}

/// A file to be read.
struct Reading {
    entrance: Arc<Entrance>,
    make: Make<oio::Reader>,
}

impl oio::Read for Reading {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        (self.make)(self.entrance.service().await?)?.open(range).await
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        (self.make)(self.entrance.service().await?)?.read(range).await
    }
}

impl oio::Write for Awaited<oio::Writer> {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        self.get().await?.write(content).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.get().await?.close().await
    }

    async fn abort(&mut self) -> Result<()> {
        match &mut self.made {
            Some(made) => made.abort().await,
            None => Ok(()),
        }
    }
}

impl oio::List for Awaited<oio::Lister> {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        self.get().await?.next().await
    }
}

impl oio::Delete for Awaited<oio::Deleter> {
    async fn delete(&mut self, name: &str, how: OpDelete) -> Result<()> {
        self.get().await?.delete(name, how).await
    }

    async fn close(&mut self) -> Result<()> {
        match &mut self.made {
            Some(made) => made.close().await,
            None => Ok(()),
        }
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "nothing here asks for this"))
}

impl Service for Late {
    type Reader = Reading;
    type Writer = Awaited<oio::Writer>;
    type Lister = Awaited<oio::Lister>;
    type Deleter = Awaited<oio::Deleter>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::with_scheme("b2")
    }

    fn capability(&self) -> Capability {
        Capability { copy: false, create_dir: false, rename: false, presign: false, ..self.capability }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        unsupported()
    }

    async fn stat(&self, context: &OperationContext, name: &str, how: OpStat) -> Result<RpStat> {
        self.entrance.service().await?.stat_dyn(context, name, how).await
    }

    fn read(&self, context: &OperationContext, name: &str, how: OpRead) -> Result<Reading> {
        let (context, name) = (context.clone(), name.to_owned());
        let make = Box::new(move |service: &Servicer| service.read_dyn(&context, &name, how.clone()));
        Ok(Reading { entrance: Arc::clone(&self.entrance), make })
    }

    fn write(&self, context: &OperationContext, name: &str, how: OpWrite) -> Result<Self::Writer> {
        let (context, name) = (context.clone(), name.to_owned());
        Ok(self.awaited(move |service| service.write_dyn(&context, &name, how.clone())))
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        let context = context.clone();
        Ok(self.awaited(move |service| service.delete_dyn(&context)))
    }

    fn list(&self, context: &OperationContext, folder: &str, how: OpList) -> Result<Self::Lister> {
        let (context, folder) = (context.clone(), folder.to_owned());
        Ok(self.awaited(move |service| service.list_dyn(&context, &folder, how.clone())))
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        unsupported()
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        unsupported()
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        unsupported()
    }
}
