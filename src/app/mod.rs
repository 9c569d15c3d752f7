//! The assembly: every subsystem, named once, in the order in which it starts.

mod ending;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::admin;
use crate::backend::login::Address;
use crate::config::{Config, Live};
use crate::link::ledger::Ledger;
use crate::link::{Aligned, LinkHandle};
use crate::routing::Policy;
use crate::runbook::{Conductor, Reloader};
use crate::server::Server;
use crate::session::registry::Registry;
use crate::session::{Context, Gate};
use crate::shadow::{Align, Engine, Findings, Pair, Samples};
use crate::shutdown::Shutdown;
use crate::side::{BySide, Side};
use signals::{Asked, Signals};

/// Why the process could not start. Its text says which key or which system call.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Start(String),
}

/// Runs the proxy until SIGTERM or SIGINT. Prints the `ready:` line once clients are served.
pub fn serve(config: Config, reloader: Reloader) -> Result<(), AppError> {
    let config = Live::new(config);
    let shutdown = Shutdown::default();
    let ledger = Arc::new(Ledger::default());
    let (samples, sampled) = Samples::channel(config.shadow.max_queue);
    let findings = Arc::new(Findings::new(config.shadow.max_findings));
    let gate = Gate::from_config(&config).map_err(AppError::Config)?;
    let addresses = addresses(&config)?;
    let registry = Registry::new(Policy::old_only());
    let context = Arc::new(Context::new(
        config.clone(),
        addresses.clone(),
        gate,
        registry,
        Arc::clone(&ledger),
        (samples, Arc::clone(&findings)),
        shutdown.clone(),
    ));
    context.tracer.start();
    let link = Arc::new(LinkHandle::new(config.clone(), ledger));
    let conductor = Conductor::new(Arc::clone(&context), Arc::clone(&link), Arc::clone(&findings), reloader);
    let engine =
        Engine::new(addresses, config.timeouts.connect, config.shadow.clone(), aligning(Arc::clone(&link)), findings);
    // The control plane and the link have this thread; the clients have the workers'.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| AppError::Start(format!("no runtime: {e}")))?;
    runtime.block_on(async move {
        let mut signals = Signals::new()?;
        let admin = admin::bind(Arc::clone(&conductor)).map_err(AppError::Start)?;
        let admin_address = admin.address;
        tokio::spawn(admin.serve());
        let (console, answering) = admin::console::open(Arc::clone(&conductor));
        tokio::spawn(answering);
        let _ = context.console.set(console);
        // Clients are answered from now on, though not served before the durable policy is known.
        let server = Server::start(Arc::clone(&context))
            .map_err(|e| AppError::Start(format!("listen: {}: {e}", context.config.listen)))?;
        let asked = tokio::select! {
            () = conductor.start() => None,
            asked = to_end(&mut signals, &conductor) => Some(asked),
        };
        if let Some(asked) = asked {
            ending::let_go(&server, &shutdown, &mut signals, asked, &context.config.timeouts).await;
            return Ok(());
        }
        println!("ready: proxy on {}, admin on {admin_address}", server.address);
        tokio::spawn(Arc::clone(&conductor).watch());
        tokio::spawn(Arc::clone(&conductor).probe());
        tokio::spawn(Arc::clone(&conductor).watch_thresholds());
        let keeping = tokio::spawn(Arc::clone(&conductor).keep_statements());
        tokio::spawn(engine.run(sampled, shutdown.clone()));
        let asked = to_end(&mut signals, &conductor).await;
        ending::let_go(&server, &shutdown, &mut signals, asked, &context.config.timeouts).await;
        keeping.abort();
        if let Err(error) = conductor.save_statements().await {
            tracing::warn!(%error, "the last counts of the table of statements are lost");
        }
        link.stop().await;
        context.tracer.flush().await;
        Ok(())
    })
}

/// Does what signals ask, until one asks for the end.
async fn to_end(signals: &mut Signals, conductor: &Conductor) -> Asked {
    loop {
        match signals.next().await {
            // It has been logged, whatever came of it.
            Asked::Reload => drop(conductor.reload()),
            asked => return asked,
        }
    }
}

fn addresses(config: &Config) -> Result<BySide<Address>, AppError> {
    let address = |side: Side| {
        Address::from_url(side, &config.backends.get(side).url).map_err(|e| AppError::Config(e.to_string()))
    };
    Ok(BySide { old: address(Side::Old)?, new: address(Side::New)? })
}

impl Pair for Aligned {
    fn snapshot_id(&self) -> &str {
        &self.snapshot_id
    }

    fn primary(&self) -> Side {
        self.primary
    }

    fn still_held(&self) -> bool {
        Aligned::still_held(self)
    }
}

/// The link, as the shadow engine knows it.
fn aligning(link: Arc<LinkHandle>) -> Align {
    Arc::new(move |limit: Duration| -> BoxFuture<'static, Option<Box<dyn Pair>>> {
        let link = Arc::clone(&link);
        Box::pin(async move {
            let aligned = link.align(limit).await.inspect_err(|error| tracing::debug!(%error, "no aligned pair"));
            aligned.ok().map(|pair| Box::new(pair) as Box<dyn Pair>)
        })
    })
}
