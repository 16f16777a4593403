//! `heddle up`: everything in one process, on one machine.
//!
//! The order matters: ports are bound first, so that a taken one fails before anything is touched; the
//! log is recovered before anything can append to it; consumers are there before the ingress
//! answers; and only when all of that is so does the process say that it is ready.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use heddle_broker::clock::{Clock, SystemClock};
use heddle_broker::control::sightings::Sightings;
use heddle_broker::control::{Control as BrokerControl, Stores, Surroundings};
use heddle_broker::directory::{Directory, SharedDirectory};
use heddle_broker::ingress::{Ingress, IngressOptions};
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::segment::{SegmentOptions, SegmentStore};
use heddle_broker::log::{Health, LogStore};
use heddle_crds::api::{ApiServer, Health as ApiHealth, Now};
use heddle_dispatcher::control::Control as ConsumerControl;
use heddle_dispatcher::dispatcher::{TOTAL_BYTES, WINDOW_BYTES};
use heddle_dispatcher::{Dispatcher, DispatcherOptions};
use heddle_sources::Tools;
use heddle_sources::control::Control as SourceControl;
use jiff::SignedDuration;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::access::{self, Entrance};
use super::banner;
use super::control::{self, Controllers, Progress};
use super::data_dir::{DataDir, Endpoints};
use super::first_steps;
use super::handlers;
use super::metrics;
use crate::admin::{self, Admin, Check, Readiness};
use crate::cli::manifest::{self, Loaded};
use crate::cli::up::UpArgs;
use crate::shutdown::Shutdown;
use crate::telemetry::LogLevel;

/// Runs until it is told to stop. The answer is the process's exit code.
pub async fn up(args: UpArgs, log_level: LogLevel) -> anyhow::Result<ExitCode> {
    let started = tokio::time::Instant::now();
    let UpArgs {
        filename,
        data,
        listen,
        api,
        api_name,
        api_tls,
        admin,
        max_event_bytes,
        event_ttl,
        ..
    } = args;
    let Loaded { resources, events } = manifest::load(&filename)?;
    let listeners = Listeners::bind(listen, api, api_tls, admin).await?;
    let data_dir = DataDir::create(&data)?;
    data_dir.remove_endpoints();
    let shutdown = Shutdown::default();
    let parts = Parts::open(&data_dir, &listeners.endpoints, event_ttl, &shutdown)?;
    let client = parts.api.client();
    let endpoints = listeners.endpoints.clone();
    let entrance = Entrance::open(
        &data_dir,
        listeners.api.local_addr()?,
        endpoints.api.clone(),
        &api_name,
        parts.now(),
    )?;
    let installation = first_steps::installation(&client).await?;
    let synced = parts.start(
        listeners,
        &entrance,
        installation,
        max_event_bytes,
        log_level,
        &shutdown,
    );
    entrance.write_kubeconfig()?;
    let ready = async {
        if !data_dir.is_initialized()? {
            first_steps::create_default_broker(&client).await?;
            data_dir.mark_initialized()?;
        }
        control::wait_until_synced(synced).await?;
        first_steps::apply(&client, resources).await?;
        anyhow::Ok(())
    };
    tokio::select! {
        done = ready => done?,
        () = shutdown.graceful.cancelled() => {}
    }
    if !shutdown.graceful.is_cancelled() {
        data_dir.write_endpoints(&endpoints)?;
        banner::print(&endpoints, &data_dir, &entrance, started.elapsed())?;
        let sent = first_steps::send(endpoints.ingress, events);
        shutdown.tracker.spawn(async move {
            if let Err(error) = sent.await {
                tracing::warn!(%error, "an event of the manifests could not be sent");
            }
        });
    }
    let finished = shutdown.run().await?;
    data_dir.remove_endpoints();
    parts.close();
    Ok(ExitCode::from(u8::from(!finished)))
}

/// The bound ports.
struct Listeners {
    ingress: TcpListener,
    api: TcpListener,
    admin: TcpListener,
    endpoints: Endpoints,
}

impl Listeners {
    async fn bind(
        ingress: std::net::SocketAddr,
        api: std::net::SocketAddr,
        api_tls: bool,
        admin: std::net::SocketAddr,
    ) -> anyhow::Result<Self> {
        let bind = |address: std::net::SocketAddr, flag: &'static str| async move {
            TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address}; is another heddle running? Choose another address with {flag}")
            })
        };
        let ingress = bind(ingress, "--listen").await?;
        let api = bind(api, "--api").await?;
        let admin = bind(admin, "--admin").await?;
        let address = admin.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "--admin can be reached from other machines, and has no authentication");
        }
        let url = |listener: &TcpListener| {
            listener
                .local_addr()
                .map(|address| format!("http://{address}"))
        };
        let endpoints = Endpoints {
            pid: std::process::id(),
            ingress: url(&ingress)?,
            api: access::url(api.local_addr()?, api_tls),
            admin: url(&admin)?,
        };
        Ok(Self {
            ingress,
            api,
            admin,
            endpoints,
        })
    }
}

/// The page cache of the positions' store. Positions are small and few; sled's default is a gibibyte.
const STATE_CACHE: u64 = 1 << 20;

/// Everything that holds state.
#[derive(Clone)]
struct Parts {
    clock: Arc<dyn Clock>,
    registry: Arc<Mutex<Registry>>,
    segments: Arc<SegmentStore>,
    memory: Arc<MemoryStore>,
    api: Arc<ApiServer>,
    dispatcher: Arc<Dispatcher>,
    directory: SharedDirectory,
    ingress_url: String,
}

impl Parts {
    /// Opens everything that is on disk. Blocks for as long as recovery takes.
    fn open(
        data: &DataDir,
        endpoints: &Endpoints,
        event_ttl: SignedDuration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut registry = Registry::default();
        let segments = SegmentStore::open(
            &data.log(),
            SegmentOptions {
                clock: Arc::clone(&clock),
                ..SegmentOptions::default()
            },
        )?;
        let memory = MemoryStore::new(MemoryOptions {
            clock: Arc::clone(&clock),
            ..MemoryOptions::default()
        });
        let state = sled::Config::new()
            .path(data.state())
            .cache_capacity(STATE_CACHE)
            .flush_every_ms(None);
        let now = now_of(&clock);
        let kinds = heddle_broker::control::admission::kinds();
        let api = ApiServer::open_for(&data.api(), kinds, now, event_ttl)?;
        let dispatcher = Dispatcher::open(
            DispatcherOptions {
                state,
                state_dir: data.state(),
                dead_letters: Arc::clone(&segments) as Arc<dyn LogStore>,
                locals: handlers::all(),
                clock: Arc::clone(&clock),
                tracker: shutdown.tracker.clone(),
                stop: shutdown.graceful.clone(),
                force: shutdown.force.clone(),
                seed: rand::random(),
                window_bytes: WINDOW_BYTES,
                total_bytes: TOTAL_BYTES,
            },
            &mut registry,
        )
        .with_context(|| format!("{} cannot be opened", data.state().display()))?;
        Ok(Self {
            clock,
            registry: Arc::new(Mutex::new(registry)),
            segments,
            memory,
            api,
            dispatcher,
            directory: Arc::new(ArcSwap::from_pointee(Directory::default())),
            ingress_url: endpoints.ingress.clone(),
        })
    }
}

/// The wall clock as the API reads it.
fn now_of(clock: &Arc<dyn Clock>) -> Now {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.now())
}

impl Parts {
    fn now(&self) -> Now {
        now_of(&self.clock)
    }

    /// Starts everything on the process's tracker. What is returned tells when the controllers have
    /// looked at all that was there.
    fn start(
        &self,
        listeners: Listeners,
        entrance: &Entrance,
        installation: String,
        max_event_bytes: u32,
        log_level: LogLevel,
        shutdown: &Shutdown,
    ) -> watch::Receiver<Progress> {
        let Listeners {
            ingress: ingress_listener,
            api,
            admin: admin_listener,
            endpoints: _,
        } = listeners;
        let (tracker, graceful) = (&shutdown.tracker, &shutdown.graceful);
        self.api.serve(api, entrance.access(), tracker, graceful);
        tracker.spawn(entrance.clone().keep(graceful.clone()));
        let controllers = self.controllers(installation, shutdown);
        let client = self.api.client();
        let synced = control::start(controllers, &client, &shutdown.tracker, &shutdown.graceful);

        self.start_ingress(ingress_listener, max_event_bytes, shutdown);
        let admin = Admin {
            registry: Arc::clone(&self.registry),
            readiness: self.readiness(synced.clone()),
            log_level: Some(log_level),
            directory: Arc::clone(&self.directory),
            dispatcher: Arc::clone(&self.dispatcher),
            clock: Arc::clone(&self.clock),
            stop: shutdown.graceful.clone(),
        };
        let graceful = shutdown.graceful.clone();
        shutdown.tracker.spawn(async move {
            if let Err(error) = admin::serve(admin, admin_listener).await {
                tracing::error!(%error, "the admin listener failed; stopping");
                graceful.cancel();
            }
        });
        synced
    }

    fn start_ingress(&self, listener: TcpListener, max_event_bytes: u32, shutdown: &Shutdown) {
        let options = IngressOptions {
            max_body_bytes: max_event_bytes as usize,
            ..IngressOptions::default()
        };
        let ingress = Ingress::new(
            Arc::clone(&self.directory),
            Arc::clone(&self.clock),
            options,
            &mut self.registry.lock(),
        );
        metrics::register(&self.segments, &self.directory, &mut self.registry.lock());
        let serve = ingress.serve(
            listener,
            shutdown.tracker.clone(),
            shutdown.graceful.clone(),
            shutdown.force.clone(),
        );
        let graceful = shutdown.graceful.clone();
        shutdown.tracker.spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the ingress could not be started; stopping");
                graceful.cancel();
            }
        });
    }

    fn controllers(&self, installation: String, shutdown: &Shutdown) -> Controllers {
        let sources = Tools {
            dispatcher: Arc::clone(&self.dispatcher),
            installation: installation.clone(),
            tracker: shutdown.tracker.clone(),
            stop: shutdown.graceful.clone(),
        };
        let stores = Stores::new(
            Arc::clone(&self.segments) as Arc<dyn LogStore>,
            Arc::clone(&self.memory) as Arc<dyn LogStore>,
            Surroundings {
                installation,
                clock: Arc::clone(&self.clock),
                tracker: shutdown.tracker.clone(),
                stop: shutdown.graceful.clone(),
            },
        );
        let directory = Arc::clone(&self.directory);
        let brokers = BrokerControl::new(self.ingress_url.clone(), stores, directory);
        let names: BTreeSet<String> = [handlers::EVENT_DISPLAY.to_owned()].into();
        let consumers = ConsumerControl::new(
            Arc::clone(&self.dispatcher),
            brokers.open_logs(),
            names.clone(),
        );
        let sightings = Sightings::new(
            shutdown.tracker.clone(),
            shutdown.graceful.clone(),
            &mut self.registry.lock(),
        );
        Controllers {
            brokers,
            consumers,
            sources: SourceControl::new(sources, names),
            sightings,
            clock: Arc::clone(&self.clock),
        }
    }

    fn readiness(&self, synced: watch::Receiver<Progress>) -> Readiness {
        let (segments, api) = (Arc::clone(&self.segments), Arc::clone(&self.api));
        let log: Check = Box::new(move || match segments.health() {
            Health::Ready => Ok(()),
            Health::Degraded(reason) | Health::Failed(reason) => Err(reason),
        });
        let api: Check = Box::new(move || match api.health() {
            ApiHealth::Good => Ok(()),
            ApiHealth::ReadOnly { reason } => Err(reason),
        });
        let controllers: Check = Box::new(move || match *synced.borrow() {
            Progress::Synced => Ok(()),
            Progress::Watching => Err("not everything has been looked at yet".to_owned()),
        });
        Readiness::new(vec![
            ("log", log),
            ("api", api),
            ("controllers", controllers),
        ])
    }

    /// Ends what writes to disk, after all tasks have ended.
    fn close(&self) {
        self.api.close();
        self.segments.close();
    }
}
