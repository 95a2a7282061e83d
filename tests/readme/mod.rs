//! The README is run and held against the code: its tour in a scratch folder, its tables in both
//! directions. What a test does not hold is marked in the text.

mod tables;
mod tour;

use std::fs;

use crate::harness::tools;

/// A fenced block: ` ```language note `, its text, and what a ` ```text ` block right after it shows.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) note: String,
    pub(crate) text: String,
    pub(crate) output: Option<String>,
}

pub(crate) fn readme() -> String {
    fs::read_to_string(tools::in_repository("README.md")).expect("the README is there")
}

/// All fenced blocks, in order.
pub(crate) fn blocks() -> Vec<Block> {
    let readme = readme();
    let mut lines = readme.lines();
    let mut blocks: Vec<Block> = Vec::new();
    let mut since_the_last = String::new();
    while let Some(line) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else {
            since_the_last.push_str(line);
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = body.join("\n");
        let follows = std::mem::take(&mut since_the_last).is_empty();
        match blocks.last_mut() {
            Some(before) if opening == "text" && follows && before.language == "sh" => {
                before.output = Some(text);
            }
            _ => {
                let (language, note) = opening.split_once(' ').unwrap_or((opening, ""));
                let (language, note) = (language.to_owned(), note.to_owned());
                blocks.push(Block { language, note, text, output: None });
            }
        }
    }
    blocks
}

/// The one block with that note, e.g. `check_event.py`.
pub(crate) fn block(note: &str) -> String {
    let mut found = blocks().into_iter().filter(|block| block.note == note);
    let block = found.next().unwrap_or_else(|| panic!("the README has no block {note}"));
    assert!(found.next().is_none(), "the README has two blocks {note}");
    block.text
}
