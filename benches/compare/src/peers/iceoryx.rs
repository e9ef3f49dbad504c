//! iceoryx2: publish and subscribe, between processes.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, capacity, sum};
use crate::peers::unique;
use iceoryx2::config::Config;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use std::path::PathBuf;
use std::time::Duration;

/// Its name in the report.
pub const NAME: &str = "iceoryx2 publish-subscribe";

type Service = PortFactory<ipc::Service, [u64], ()>;

/// A service for messages of one length, with a place of its own for all its files.
pub struct Messages {
    service: String,
    bytes: usize,
    root: PathBuf,
    config: Config,
}

impl Messages {
    /// For messages of `bytes`.
    pub fn new(bytes: usize) -> Result<Self> {
        set_log_level(LogLevel::Error);
        let service = unique();
        let root = std::env::temp_dir().join(&service);
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(root.as_os_str().as_encoded_bytes())?);
        config.global.prefix = FileName::new(service.as_bytes())?;
        // On a busy machine the other side may take its time.
        config.global.creation_timeout = Duration::from_secs(20);
        Ok(Self { service, bytes, root, config })
    }

    /// Each end has a node of its own, which lives as long as what this returns.
    fn open(&self) -> Result<(Node<ipc::Service>, Service)> {
        let node = NodeBuilder::new().config(&self.config).create::<ipc::Service>()?;
        // Nothing is lost when the subscriber is behind.
        let service = node
            .service_builder(&self.service.as_str().try_into()?)
            .publish_subscribe::<[u64]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(capacity(self.bytes))
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()?;
        Ok((node, service))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // What its own ends leave: directories, and the memory of its bookkeeping.
        let _ = std::fs::remove_dir_all(&self.root);
        let ours = |entry: &std::fs::DirEntry| {
            entry.file_name().as_encoded_bytes().starts_with(self.service.as_bytes())
        };
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten().filter(ours) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Channel for Messages {
    fn producer(&self) -> Result<impl Push + '_> {
        let (node, service) = self.open()?;
        let words = self.bytes / WORD;
        let end = service
            .publisher_builder()
            .initial_max_slice_len(words)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        Ok(Producer { end, words, _node: node })
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        let (node, service) = self.open()?;
        Ok(Consumer { end: service.subscriber_builder().create()?, _node: node })
    }
}

struct Producer {
    end: Publisher<ipc::Service, [u64], ()>,
    words: usize,
    _node: Node<ipc::Service>,
}

impl Push for Producer {
    /// Waits in its own way when the subscriber is behind.
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        let sample = self.end.loan_slice_uninit(self.words).expect("loaned");
        sample.write_from_fn(|_| number).send().expect("sent") == 1
    }
}

struct Consumer {
    end: Subscriber<ipc::Service, [u64], ()>,
    _node: Node<ipc::Service>,
}

impl Pop for Consumer {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        Some(sum(&self.end.receive().expect("received")?))
    }
}
