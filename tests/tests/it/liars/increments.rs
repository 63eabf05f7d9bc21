//! Gauges that count too much, or not everything.

use std::net::{Ipv6Addr, SocketAddr};

use tests::load::Kind;
use tokio::net::{TcpListener, TcpStream};

use super::scene::{GATEWAY, Scene};

#[tokio::test]
async fn double_increment_on_upgrade() {
    let Some(scene) = Scene::start("double_increment_on_upgrade").await else {
        return;
    };
    scene.agrees(0).await;
    let _crowd = scene.crowd(6).await;
    scene.is_caught("over", 6, "rises_with_openings").await;
    let _more = scene.crowd(3).await;
    scene.is_caught("over", 9, "rises_with_openings").await;
}

#[tokio::test]
async fn increment_before_the_limit() {
    let Some(scene) = Scene::start("increment_before_limit").await else {
        return;
    };
    let _crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    scene.refused(GATEWAY, 3).await;
    scene.is_caught("over", 3, "rises_with_openings").await;
    scene.refused(GATEWAY, 4).await;
    scene.is_caught("over", 7, "rises_with_openings").await;
}

#[tokio::test]
async fn counting_at_accept_while_the_queue_stalls() {
    let liar = "counts_at_accept";
    let Some(scene) = Scene::start_with(liar, &[], "established").await else {
        return;
    };
    let _crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    let mut waiting = Vec::new();
    for expected in [-4, -7] {
        while waiting.len() < usize::try_from(-expected).expect("a count") {
            waiting.push(TcpStream::connect(scene.public).await.expect("connect"));
        }
        scene
            .is_caught("under", expected, "follows_accept_queue")
            .await;
    }
}

#[tokio::test]
async fn a_gauge_of_what_is_accepted_is_right_while_the_queue_stalls() {
    let liar = "counts_at_accept";
    let Some(scene) = Scene::start_with(liar, &[], "accepted").await else {
        return;
    };
    let _crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(TcpStream::connect(scene.public).await.expect("connect"));
    }
    // Aborted in the queue: closed as far as the kernel is concerned, and waiting all the same.
    for stream in waiting.drain(..3) {
        let stream = stream.into_std().expect("a socket");
        let linger = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        linger.expect("set linger");
    }
    scene.only_agrees_for(8).await;
}

#[tokio::test]
async fn one_of_two_address_families_is_not_counted() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_err() {
        tests::skip("there is no IPv6 here");
        return;
    }
    let Some(scene) = Scene::start("one_family_only").await else {
        return;
    };
    let _crowd = scene.crowd(8).await;
    scene.agrees(8).await;
    let second = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), scene.public.port());
    let _uncounted = scene.crowd_at(second, Kind::WebSocket, 5).await;
    scene.is_caught("under", -5, "constant_offset").await;
}

#[tokio::test]
async fn kept_alive_http_is_counted_as_clients() {
    let Some(scene) = Scene::start("counts_keep_alives").await else {
        return;
    };
    let _crowd = scene.crowd(7).await;
    scene.agrees(7).await;
    let _kept = scene.crowd_at(scene.public, Kind::Http, 4).await;
    scene.is_caught("over", 4, "follows_http").await;
    let _more = scene.crowd_at(scene.public, Kind::Http, 2).await;
    scene.is_caught("over", 6, "follows_http").await;
}
