//! A build without the feature `otlp`: nothing is exported, and who asks for it is told.

use tracing::Subscriber;
use tracing_subscriber::Layer;

/// Nothing.
pub(crate) struct Export {
    is_asked: bool,
}

impl Export {
    pub(crate) fn from_environment(_node_id: &str) -> Self {
        let set = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT");
        Self { is_asked: set.is_some_and(|value| !value.is_empty()) }
    }

    pub(crate) fn none() -> Self {
        Self { is_asked: false }
    }

    /// What the operator should know.
    pub(crate) fn note(&self) -> Option<&str> {
        self.is_asked.then_some(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this build exports nothing: build it with \
             --features otlp",
        )
    }

    pub(crate) fn layer<S: Subscriber>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>> {
        None
    }

    pub(crate) fn finish(&self) {}
}
