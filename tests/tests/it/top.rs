//! `observer top` in terminals of two sizes: it tells what the API tells, and leaves no trace.

use std::path::Path;

use serde_json::Value;
use tests::load::Ending;
use tests::port::free_address;
use tests::process::{Process, Signal, binary};
use tests::terminal::{Terminal, tmux_or_skip};
use tests::wait;

use crate::liars::{BOUND, Scene};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

/// `observer top` with these flags.
fn top(size: (u16, u16), variables: &[&str], flags: &[String]) -> Terminal {
    let program = binary("observer").expect("the observer");
    let mut command = vec![program.display().to_string(), "top".to_owned()];
    command.extend_from_slice(flags);
    Terminal::start(size, variables, &command).expect("start top")
}

/// A screen for people to look at, below `target/`.
fn keep(terminal: &Terminal, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/top");
    terminal
        .keep(&folder.join(name))
        .expect("keep what is shown");
}

/// A liar that goes from agree to over and back; nothing where that cannot be had here.
async fn scene() -> Option<Scene> {
    if !tmux_or_skip() {
        return None;
    }
    // Its cache is filled anew when a verdict has long been given.
    Scene::start_with("stale_cache", &["--refresh=10".to_owned()], "websocket").await
}

/// Waits until the API says so, and then the terminal what the API says.
async fn tells(scene: &Scene, terminal: &Terminal, verdict: &str) -> Value {
    let told = wait::until(verdict, BOUND, async || {
        let report = scene.report().await?;
        anyhow::ensure!(report["verdict"] == verdict, "{report:#}");
        let words = terminal.words()?;
        // The sentence has the gauge, the kernel, the drift, since when, and the cause.
        let sentence = report["sentence"].as_str().unwrap_or_default();
        anyhow::ensure!(words.contains(sentence), "no {sentence:?} in {words}");
        anyhow::ensure!(words.contains(&format!("1 {verdict}")), "{words}");
        Ok(report)
    });
    told.await.expect("the same story")
}

#[tokio::test]
async fn top_tells_the_story_of_the_api_at_both_sizes() {
    let Some(scene) = scene().await else { return };
    let asks = [format!("--url={}", scene.observer)];
    let small = top(SMALL, &[], &asks);
    let large = top(LARGE, &["NO_COLOR=1"], &scene.target);

    // It counts what opens from now on: of what was open before it would not know the class.
    let agrees = ["the gauge says 0, the kernel counts 0: they agree"];
    large.shows(&agrees, BOUND).await.expect("it watches");

    let mut crowd = scene.crowd(10).await;
    tells(&scene, &small, "agree").await;
    let agrees = ["the gauge says 10, the kernel counts 10: they agree"];
    large.shows(&agrees, BOUND).await.expect("agree");
    large.press(&["Enter"]).expect("look closer");

    crowd.end(4, Ending::Clean).await;
    tells(&scene, &small, "over").await;
    large
        .shows(
            &["▲ over", "claim 10 kernel 6 drift +4", "websocket 6"],
            BOUND,
        )
        .await
        .expect("over");
    // Colours are the terminal's 16, and where none are wanted there are none.
    let coloured = small.coloured_screen().expect("the screen");
    let indices: Vec<&str> = coloured
        .split("[38;5;")
        .skip(1)
        .filter_map(|after| Some(after.split_once('m')?.0))
        .collect();
    assert!(indices.contains(&"1"), "{coloured:?}");
    let is_basic = |index: &&str| index.parse::<u8>().is_ok_and(|index| index < 16);
    assert!(indices.iter().all(is_basic), "{coloured:?}");
    for other in ["[38;2", "[48;"] {
        assert!(!coloured.contains(other), "{coloured:?}");
    }
    let plain = large.coloured_screen().expect("the screen");
    for colour in ["[3", "[4", "[9", "[10"].map(|code| format!("\u{1b}{code}")) {
        let mut after = plain.split(&colour).skip(1);
        assert!(after.all(|text| text.starts_with("9m")), "{plain:?}");
    }
    keep(&small, "80x24-over.txt");
    keep(&large, "200x50-over.txt");

    small.press(&["o"]).expect("the sockets");
    let sockets = ["liar: 6 open, 6 listed, 6 shown", "websocket ESTAB"];
    small.shows(&sockets, BOUND).await.expect("the sockets");
    keep(&small, "80x24-sockets.txt");
    small.press(&["Escape"]).expect("back");
    small
        .shows(&["[Last checks]"], BOUND)
        .await
        .expect("detail");
    keep(&small, "80x24-detail.txt");
    small.press(&["Escape"]).expect("back");

    tells(&scene, &small, "agree").await;
    large
        .shows(&["= agree", "claim 6 kernel 6 drift +0"], BOUND)
        .await
        .expect("agree again");
    keep(&small, "80x24-agree-again.txt");
    keep(&large, "200x50-agree-again.txt");
}

#[tokio::test]
async fn top_filters_freezes_resizes_and_helps() {
    let Some(scene) = scene().await else { return };
    let terminal = top(SMALL, &[], &[format!("--url={}", scene.observer)]);
    let shows = async |texts: &[&str]| {
        let shown = terminal.shows(texts, BOUND).await;
        shown.unwrap_or_else(|error| panic!("{error:#}"));
    };
    let press = |keys: &[&str]| terminal.press(keys).expect("press");
    shows(&["> liar = agree 0 0 0"]).await;
    press(&["p"]);
    shows(&["FROZEN"]).await;
    let _crowd = scene.crowd(3).await;
    scene.agrees(3).await;
    shows(&["> liar = agree 0 0 0"]).await;
    press(&["Space"]);
    shows(&["> liar = agree 3 3 0"]).await;

    press(&["/", "x", "y"]);
    shows(&["filter: xy_", "No target matches the filter."]).await;
    press(&["BSpace", "BSpace", "l", "i", "Enter"]);
    shows(&["filter: li", "> liar"]).await;
    press(&["?"]);
    shows(&["quit", "it is surely too much"]).await;
    press(&["?"]);
    shows(&["> liar"]).await;

    terminal.resize((44, 8)).expect("resize");
    shows(&["agree", "liar"]).await;
    terminal.resize((120, 30)).expect("resize");
    shows(&["LAST CHECKS"]).await;
}

#[tokio::test]
async fn the_terminal_is_given_back() {
    let Some(mut scene) = scene().await else {
        return;
    };
    let asks = [format!("--url={}", scene.observer)];
    let endings: [&dyn Fn(&Terminal); 3] = [
        &|terminal| terminal.press(&["q"]).expect("press"),
        &|terminal| terminal.press(&["C-c"]).expect("press"),
        &|terminal| terminal.signal(Signal::TERM).expect("a signal"),
    ];
    for end in endings {
        let terminal = top(SMALL, &[], &asks);
        terminal.shows(&["> liar"], BOUND).await.expect("shown");
        assert!(terminal.is_drawn_on().expect("its state"));
        end(&terminal);
        // The shell's screen again, and the terminal echoes and edits lines.
        let usual = ["ended 0", " icanon ", " echo "];
        terminal.shows(&usual, BOUND).await.expect("given back");
        assert!(!terminal.is_drawn_on().expect("its state"));
    }

    let terminal = top(SMALL, &[], &asks);
    terminal.shows(&["> liar"], BOUND).await.expect("shown");
    scene.kill_observer().await;
    let old = ["DISCONNECTED", "what is shown is old", "> liar"];
    terminal.shows(&old, BOUND).await.expect("old");
    terminal.press(&["q"]).expect("press");
    terminal.shows(&["ended 0"], BOUND).await.expect("ended");

    let terminal = top(SMALL, &[], &asks);
    let texts = [
        "error: cannot ask an observer at",
        "hint: start observer",
        "ended 1",
    ];
    terminal.shows(&texts, BOUND).await.expect("an error");
}

#[tokio::test]
async fn without_a_terminal_there_is_a_way_to_go() {
    let nobody = format!("--url=http://{}", free_address().expect("a free port"));
    let mut observer = Process::spawn("observer", ["top", &nobody]).expect("start");
    let status = observer.wait_for_exit(BOUND).await.expect("it ends");
    assert_eq!(status.code(), Some(1));
    let log = observer.log();
    assert!(
        log.contains("needs a terminal") && log.contains("observer check") && log.contains("json"),
        "{log}"
    );
    assert_eq!(observer.stdout(), "");
}
