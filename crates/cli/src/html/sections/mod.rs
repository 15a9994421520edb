//! The sections of the page, in their order.

mod account;
mod arenas;
mod bins;
mod heaps;
mod holders;
mod mappings;
pub mod measured;
mod sites;
mod sizes;
mod summary;
mod timeline;

use maud::Markup;
use serde_json::Value;

use super::document::Document;

/// A part of the page with a heading of its own.
pub struct Section {
    /// Its name in links.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What stands below it.
    pub body: Markup,
    /// Data for the script: found as the element `data-NAME`.
    pub data: Option<(&'static str, Value)>,
}

/// Makes a section, or none if there is nothing to tell.
type Maker = fn(&Document<'_>) -> Option<Section>;

const SECTIONS: [Maker; 11] = [
    summary::section,
    account::section,
    timeline::section,
    heaps::section,
    arenas::section,
    bins::section,
    sizes::section,
    sites::section,
    holders::section,
    mappings::section,
    measured::section,
];

/// All that there are.
pub fn all(document: &Document<'_>) -> Vec<Section> {
    SECTIONS.iter().filter_map(|make| make(document)).collect()
}
