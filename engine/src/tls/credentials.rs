//! What an agent proves itself with and trusts by.

use std::sync::Arc;

use rustls_pki_types::ServerName;

/// Credentials of one agent.
pub struct Credentials {
    sync_client: Arc<rustls::ClientConfig>,
    sync_server: Arc<rustls::ServerConfig>,
}

impl Credentials {
    /// For dialling a bulk exchange.
    pub fn sync_client(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.sync_client)
    }

    /// For serving a bulk exchange.
    pub fn sync_server(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.sync_server)
    }
}

/// The name that handshakes ask for; identity is not in it.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into())
}
