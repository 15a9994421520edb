//! The page over HTTP.
//!
//! A few threads answer, so that one slow reader does not keep the others waiting; the looks
//! themselves are taken by one at a time.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::anyhow;
use nix::sys::signal::{SigSet, Signal};
use tiny_http::{Header, Method, Request, Response, Server};

use super::collect::Collector;
use super::encode::{Format, encode};

/// Answers at once.
const ANSWERERS: usize = 4;

const INDEX: &str = "<!doctype html><title>Heapwise exporter</title>\
    <h1>Heapwise exporter</h1><p><a href=\"/metrics\">Metrics</a></p>\n";

/// Serves until SIGTERM or SIGINT.
pub fn run(address: SocketAddr, collector: Collector) -> anyhow::Result<ExitCode> {
    let ends = ends()?;
    let server =
        Server::http(address).map_err(|error| anyhow!("cannot listen at {address}: {error}"))?;
    eprintln!("heapwise: listening at http://{}/metrics", server.server_addr());
    let server = Arc::new(server);
    let collector = Arc::new(Mutex::new(collector));
    for _ in 0..ANSWERERS {
        let (server, collector) = (Arc::clone(&server), Arc::clone(&collector));
        thread::spawn(move || {
            while let Ok(request) = server.recv() {
                // Whoever hangs up early has lost its answer; that is all.
                let _ = answer(request, &collector);
            }
        });
    }
    ends.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that end us, blocked in this thread and in those that it starts.
pub fn ends() -> io::Result<SigSet> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    Ok(ends)
}

fn answer(request: Request, collector: &Mutex<Collector>) -> io::Result<()> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        let allow = header("Allow", "GET, HEAD");
        return request.respond(Response::from_string("").with_status_code(405).with_header(allow));
    }
    match request.url().split('?').next() {
        Some("/metrics") => {
            let accept: Vec<_> = request
                .headers()
                .iter()
                .filter(|header| header.field.equiv("Accept"))
                .map(|header| header.value.as_str())
                .collect();
            let format = Format::accepted(&accept.join(","));
            let page = collector.lock().unwrap_or_else(PoisonError::into_inner).page();
            let content_type = header("Content-Type", format.content_type());
            let page = Response::from_string(encode(&page, format)).with_header(content_type);
            request.respond(page.with_header(header("Cache-Control", "no-store")))
        }
        Some("/") => {
            let content_type = header("Content-Type", "text/html; charset=utf-8");
            request.respond(Response::from_string(INDEX).with_header(content_type))
        }
        _ => request.respond(Response::from_string("not found\n").with_status_code(404)),
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("our headers are ASCII")
}
