//! The status page: one sentence per target, and where everything else is.

use std::fmt::Write as _;

use crate::api::TargetReport;

/// The page, without scripts.
pub(super) fn render(reports: &[TargetReport]) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>observer</title>\
         <h1>observer</h1><ul>",
    );
    for report in reports {
        let _ = write!(page, "<li>{}</li>", escape(&report.sentence));
    }
    page.push_str(
        "</ul><p><a href=\"/metrics\">/metrics</a> \
         <a href=\"/api/v1/targets\">/api/v1/targets</a> \
         <a href=\"/-/ready\">/-/ready</a></p></html>",
    );
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
