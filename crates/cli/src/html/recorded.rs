//! What was recorded of a process, as sections of the page: a flame graph of its allocation sites, and
//! memory with the kernel's calls over time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use heapwise_trace::{MAGIC, Trace};
use maud::{PreEscaped, html};

use super::sections::Section;
use crate::failure::Failure;
use crate::profile::sites::Sites;
use crate::profile::symbols::Symbols;
use crate::profile::{self, Show, flame, unreadable};
use crate::timeline::{self, Story, Wanted};

/// Calls that are listed.
const CALLS: usize = 100;

/// A trace, or a raw profile, told.
pub struct Recorded {
    /// The command that was recorded.
    pub command: String,
    /// Flame graph of what lives at the end, and of all that was allocated; tables.
    sites: Option<(String, String, String)>,
    /// Picture and tables.
    timeline: Option<(String, String)>,
}

/// Whether a file begins as a trace does.
pub fn is_recording(path: &Path) -> bool {
    let mut first = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == MAGIC
}

impl Recorded {
    /// Of a file; what is wrong with it further on is said, and it is told as far as it goes.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let trace = profile::open(path)?;
        let wanted = Wanted { pid: None, all: false, limit: CALLS };
        let story = Story::of(&trace, &wanted).map_err(|error| unreadable(path, &error))?;
        if let Some(damage) = &story.damage {
            crate::complain(&format!("{}: {damage}; this is of what is whole", path.display()));
        }
        let sites = Sites::of(&trace).map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            command: story.command.clone(),
            sites: told_sites(&trace, &sites),
            // Of a sampled profile only the sites mean something.
            timeline: (!story.accounts.is_empty()).then(|| told_story(&story)),
        })
    }

    /// The program's name.
    pub fn name(&self) -> &str {
        let program = self.command.split_whitespace().next().unwrap_or("?");
        program.rsplit('/').next().unwrap_or(program)
    }

    /// Its sections.
    pub fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        if let Some((picture, tables)) = &self.timeline {
            sections.push(Section {
                id: "recorded",
                title: "Recorded over time",
                body: html! {
                    p { "What the program held (blue, whole), what was resident (red, broken), and how \
                         often the kernel was called (grey)." }
                    (PreEscaped(picture))
                    details { summary { "Figures, and the calls that reached the kernel" } pre { (tables) } }
                },
                data: None,
            });
        }
        if let Some((live, allocated, tables)) = &self.sites {
            sections.push(Section {
                id: "flame",
                title: "Allocation sites",
                body: html! {
                    p { "Wide is much memory; below stands who called. Live: what was not freed by the end." }
                    figure.flame { (framed("Live bytes by allocation site", live)) }
                    details { summary { "All that was allocated" }
                        figure.flame { (framed("Allocated bytes by allocation site", allocated)) }
                    }
                    details { summary { "As tables" } pre { (tables) } }
                },
                data: None,
            });
        }
        if sections.is_empty() {
            sections.push(Section {
                id: "recorded",
                title: "Recorded",
                body: html! { p { "Nothing that can be shown: no call reached the kernel, and no stacks \
                                   were recorded." } },
                data: None,
            });
        }
        sections
    }
}

/// A picture that brings a script of its own, in a frame of its own: two such must not meet.
fn framed(title: &str, svg: &str) -> maud::Markup {
    // Inside a page an image has no declaration of its own; it is as wide as its frame.
    let svg = svg.find("<svg").map_or(svg, |at| &svg[at..]);
    let page = format!(
        "<!DOCTYPE html><style>body{{margin:0}}svg{{display:block;width:100%}}</style>{svg}"
    );
    let high = svg.split("height=\"").nth(1).and_then(|rest| rest.split('"').next());
    let high = high.and_then(|number| number.parse::<f64>().ok()).unwrap_or(400.0);
    html! { iframe title=(title) srcdoc=(page) style={ "height:" (high) "px" } {} }
}

fn told_sites(trace: &Trace, sites: &Sites) -> Option<(String, String, String)> {
    if sites.sites.iter().all(|site| site.stack.is_empty()) {
        return None;
    }
    let mut symbols = Symbols::default();
    let mut picture = |show| {
        let mut svg = Vec::new();
        // Writing to memory does not fail.
        let _ = flame::svg(trace, sites, &mut symbols, show, &mut svg);
        String::from_utf8_lossy(&svg).into_owned()
    };
    let pictures = (picture(Show::Live), picture(Show::Allocated));
    let mut tables = Vec::new();
    let _ = profile::text::write(trace, sites, &mut symbols, false, &mut tables);
    Some((pictures.0, pictures.1, String::from_utf8_lossy(&tables).into_owned()))
}

fn told_story(story: &Story) -> (String, String) {
    let mut tables = Vec::new();
    // Writing to memory does not fail.
    let _ = timeline::text::write(story, &mut tables);
    (timeline::html::picture(story), String::from_utf8_lossy(&tables).into_owned())
}
