//! Services that are not ours, in the languages and with the libraries that users have.
//!
//! Each is believed when its gauge is right and caught when it is not.

use tests::foreign::{self, Manner, NGINX_SECOND, Service};
use tests::load::{Crowd, Ending, Kind, Target};

use super::scene::Scene;

/// Whether the service can run here; else the skip is recorded.
pub(crate) fn is_here(name: &str) -> bool {
    let obstacle = foreign::obstacle(name).expect("a service");
    if let Some(reason) = &obstacle {
        tests::skip(reason);
    }
    obstacle.is_none()
}

/// Opens, ends in every way, and is believed throughout.
async fn is_believed(scene: &Scene) {
    let mut crowd = scene.crowd(30).await;
    scene.agrees(30).await;
    crowd.end(5, Ending::Clean).await;
    crowd.end(5, Ending::Fin).await;
    crowd.end(5, Ending::Reset).await;
    scene.agrees(15).await;
    scene.only_agrees_for(10).await;
}

#[tokio::test]
async fn an_honest_python_service_is_believed() {
    if is_here("python")
        && let Some(scene) = Scene::of(Service::python(Manner::Honest), &[]).await
    {
        is_believed(&scene).await;
    }
}

#[tokio::test]
async fn a_lying_python_service_is_caught() {
    if !is_here("python") {
        return;
    }
    let Some(scene) = Scene::of(Service::python(Manner::Lying), &[]).await else {
        return;
    };
    let mut crowd = scene.crowd(20).await;
    scene.agrees(20).await;
    crowd.end(6, Ending::Reset).await;
    scene.is_caught("over", 6, "staircase_up").await;
}

#[tokio::test]
async fn an_honest_node_service_is_believed() {
    if is_here("node")
        && let Some(scene) = Scene::of(Service::node(Manner::Honest), &[]).await
    {
        is_believed(&scene).await;
    }
}

#[tokio::test]
async fn a_lying_node_service_is_caught() {
    if !is_here("node") {
        return;
    }
    let Some(scene) = Scene::of(Service::node(Manner::Lying), &[]).await else {
        return;
    };
    let mut crowd = scene.crowd(20).await;
    scene.agrees(20).await;
    crowd.end(4, Ending::Clean).await;
    scene.agrees(16).await;
    crowd.end(5, Ending::Reset).await;
    scene.is_caught("over", 5, "staircase_up").await;
}

#[tokio::test]
async fn haproxy_is_believed_and_its_stalled_queue_is_named() {
    if !is_here("haproxy") {
        return;
    }
    let Some(scene) = Scene::of(Service::haproxy(10), &[]).await else {
        return;
    };
    let mut crowd = scene.crowd(8).await;
    scene.agrees(8).await;
    crowd.end(2, Ending::Clean).await;
    crowd.end(2, Ending::Reset).await;
    crowd.end(2, Ending::Fin).await;
    scene.agrees(2).await;

    // The front end takes ten; the kernel takes the others all the same.
    let mut more = Crowd::new(Target::new(scene.public, "/"));
    more.open(Kind::Tcp, 12, 4).await.expect("open");
    scene.is_caught("under", -4, "follows_accept_queue").await;
    more.end(12, Ending::Fin).await;
    scene.agrees(2).await;
}

#[tokio::test]
async fn nginx_is_believed_without_programs_and_its_other_server_is_noticed() {
    if !is_here("nginx") {
        return;
    }
    let flags = ["--kernel.backend=sock-diag".to_owned()];
    let Some(scene) = Scene::of(Service::nginx(), &flags).await else {
        return;
    };
    // The exporter's own connection is one of them.
    let mut crowd = scene.crowd_at(scene.public, Kind::Http, 12).await;
    scene.agrees(13).await;
    crowd.end(4, Ending::Fin).await;
    crowd.end(4, Ending::Reset).await;
    scene.agrees(5).await;
    scene.only_agrees_for(4).await;

    // nginx has one gauge for all its servers, and only one of them is watched.
    let mut second = scene.public;
    second.set_port(NGINX_SECOND);
    let _others = scene.crowd_at(second, Kind::Http, 3).await;
    scene.is_caught("over", 3, "rises_with_openings").await;
}

/// What Prometheus' listener has accepted, less what it has closed.
const OPEN_OF_PROMETHEUS: &str = "net_conntrack_listener_conn_accepted_total{listener_name=\"http\"} \
    - net_conntrack_listener_conn_closed_total{listener_name=\"http\"}";

#[tokio::test]
async fn the_difference_of_prometheus_own_counters_is_believed() {
    if !is_here("prometheus") {
        return;
    }
    let Some(scene) = Scene::of(Service::prometheus(OPEN_OF_PROMETHEUS), &[]).await else {
        return;
    };
    // The observer's own connection is one of them.
    let mut crowd = scene.crowd_at(scene.public, Kind::Tcp, 12).await;
    scene.agrees(13).await;
    crowd.end(4, Ending::Fin).await;
    crowd.end(4, Ending::Reset).await;
    scene.agrees(5).await;
    scene.only_agrees_for(5).await;
}

#[tokio::test]
async fn a_difference_less_two_is_under_by_two() {
    if !is_here("prometheus") {
        return;
    }
    let claim = format!("{OPEN_OF_PROMETHEUS} - 2");
    let Some(scene) = Scene::of(Service::prometheus(&claim), &[]).await else {
        return;
    };
    let _crowd = scene.crowd_at(scene.public, Kind::Tcp, 6).await;
    scene.is_caught_by("under", -2).await;
}

#[tokio::test]
async fn the_json_of_nats_is_believed_and_its_other_port_is_noticed() {
    if !is_here("nats") {
        return;
    }
    let (nats, second) = match Service::nats().await {
        Ok((nats, second)) => (nats, second),
        Err(error) => panic!("{error:#}"),
    };
    let Some(scene) = Scene::of(async { Ok(nats) }, &[]).await else {
        return;
    };
    let mut crowd = scene.crowd_at(scene.public, Kind::Tcp, 12).await;
    scene.agrees(12).await;
    crowd.end(4, Ending::Fin).await;
    crowd.end(4, Ending::Reset).await;
    scene.agrees(4).await;
    scene.only_agrees_for(5).await;

    let _others = scene.crowd_at(second, Kind::WebSocket, 3).await;
    scene.is_caught_by("over", 3).await;
}

#[tokio::test]
async fn the_text_of_nginx_is_believed_and_its_other_server_is_noticed() {
    if !is_here("nginx") {
        return;
    }
    let Some(scene) = Scene::of(Service::nginx_status(), &[]).await else {
        return;
    };
    let mut crowd = scene.crowd_at(scene.public, Kind::Http, 12).await;
    scene.agrees(13).await;
    crowd.end(4, Ending::Fin).await;
    crowd.end(4, Ending::Reset).await;
    scene.agrees(5).await;

    let mut second = scene.public;
    second.set_port(NGINX_SECOND);
    let _others = scene.crowd_at(second, Kind::Http, 3).await;
    scene.is_caught_by("over", 3).await;
}
