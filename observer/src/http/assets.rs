//! The page's scripts and styles: part of the binary, so that nothing is fetched from elsewhere.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:literal $media_type:ident $file:literal)*) => {
        [$(Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../assets/", $file)),
        }),*]
    };
}

const TEXT: &str = "text/plain; charset=utf-8";
const ICON: &str = "image/svg+xml";

static ASSETS: &[Asset] = &assets! {
    "page.js" SCRIPT "page.js"
    "chart.js" SCRIPT "chart.js"
    "page.css" STYLE "page.css"
    "icon.svg" ICON "icon.svg"
    "uplot.js" SCRIPT "uplot/uPlot.iife.min.js"
    "uplot.css" STYLE "uplot/uPlot.min.css"
    "uplot-license.txt" TEXT "uplot/LICENSE"
};

/// `GET /assets/{name}`. A browser keeps it, and asks each time whether it is still the same: an
/// observer that was replaced is seen at the next look.
pub(super) async fn asset(Path(name): Path<String>, asked: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "no such asset\n").into_response();
    };
    let tag = format!("\"{:016x}\"", fingerprint([asset]));
    let caching = [
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if is_known(&asked, &tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.media_type)];
    (caching, kind, asset.bytes).into_response()
}

/// What all assets together are, so that an open page notices that it is served by another observer.
pub(super) fn version() -> String {
    format!("{:016x}", fingerprint(ASSETS))
}

/// Tells one build's bytes from another's; nobody has to be kept from forging it.
fn fingerprint<'a>(assets: impl IntoIterator<Item = &'a Asset>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for asset in assets {
        asset.bytes.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether `If-None-Match` has the tag (RFC 9110, weak comparison).
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use axum::http::HeaderValue;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn what_is_vendored_is_what_was_published() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/uplot");
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("read the sums");
        let mut listed = 0;
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").expect("a sum and a name");
            let bytes = fs::read(folder.join(name)).expect("read the file");
            let found = Sha256::digest(&bytes);
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "{name}");
            listed += 1;
        }
        let files = fs::read_dir(&folder).expect("read the folder").count();
        assert_eq!(listed, files - 1, "every file but SHA256SUMS has a sum");
    }

    #[test]
    fn a_tag_is_known_by_any_of_the_headers() {
        let is_known = |value: &'static str| {
            let mut asked = HeaderMap::new();
            asked.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"0\""));
            asked.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            is_known(&asked, "\"a\"")
        };
        assert!(is_known("\"a\""));
        assert!(is_known("\"b\", W/\"a\""));
        assert!(is_known("*"));
        assert!(!is_known("\"b\""));
        assert!(!is_known("a"));
    }
}
