//! A web server on tokio and axum that is a member of a mesh: `/members` tells who is alive. The
//! agent starts before the server accepts and leaves after it has stopped; neither blocks the
//! executor.
//!
//! `cargo run -p mesh-gossip --example axum`, in a directory with an `appsettings.json`; Enter
//! stops it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use mesh_gossip::Agent;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(host())
}

async fn host() -> Outcome<()> {
    let Some(agent) = Agent::builder().start_async().await? else { return Ok(()) };
    let app = Router::new().route("/members", get(members)).with_state(Arc::clone(&agent));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/members; Enter stops", listener.local_addr()?);
    let enter = spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    axum::serve(listener, app).with_graceful_shutdown(async { drop(enter.await) }).await?;
    let acknowledged = agent.shutdown(Duration::from_secs(5)).await?;
    println!("{acknowledged} members know that we left");
    Ok(())
}

/// Reading the view never blocks.
async fn members(State(agent): State<Arc<Agent>>) -> Json<Vec<String>> {
    let published = agent.view();
    let present = published.view.members().filter(|member| member.state.is_present());
    Json(present.map(|member| member.record.record().metadata.node_id.clone()).collect())
}
