//! A control plane in process, over the store in memory.
use std::sync::Arc;

use kube::Client;
use podium::auth::ComponentAuthorizer;
use podium::auth::pki::{Pki, SubjectNames};
use podium::client::{User, in_process};
use podium::clock::{Clock, Entropy};
use podium::server::{Bootstrap, Config, Parts, Server};
use podium::storage::Storage;
use podium::{apis, controllers, store};
use tempfile::TempDir;

/// A server with its first objects, and the folder of its keys.
pub async fn server(clock: &Arc<dyn Clock>) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), &SubjectNames::default(), clock.now()).unwrap();
    let parts = Parts {
        storage: Storage::new(Arc::new(store::memory::open(clock.clone()).unwrap())),
        table: apis::builtin(),
        authorizer: Arc::new(ComponentAuthorizer),
        tokens: pki.tokens().clone(),
        clock: clock.clone(),
        entropy: Entropy::seeded(1),
    };
    let server = Server::new(Config::default(), parts);
    server.bootstrap(&Bootstrap::default()).await.unwrap();
    (server, dir)
}

/// What control loops are told.
pub fn controllers(clock: &Arc<dyn Clock>) -> controllers::Config {
    controllers::Config {
        clock: clock.clone(),
        entropy: Entropy::seeded(2),
        root_ca: "PEM".into(),
        autoscaling: Default::default(),
    }
}

/// A part of the control plane, such as `system:kube-scheduler`.
pub fn component(server: &Server, name: &str) -> Client {
    in_process(server.router(), User::component(name))
}

/// Somebody who may do everything.
pub fn admin(server: &Server) -> Client {
    let admin = User {
        name: "admin".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    };
    in_process(server.router(), admin)
}

/// Takes it that somebody else was faster.
pub fn gone_or_done<T>(answer: Result<T, kube::Error>) {
    if let Err(error) = answer {
        let kube::Error::Api(status) = &error else { panic!("{error}") };
        assert!(matches!(status.code, 404 | 409), "{error}");
    }
}
