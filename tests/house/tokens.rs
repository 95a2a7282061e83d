//! A source file as a flat list of its tokens.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

/// A source file.
pub struct Source {
    /// Its path from the repository's top, with `/`.
    pub path: String,
    /// How many lines it has.
    pub lines: usize,
    tokens: Vec<String>,
}

/// All `.rs` files below a folder.
pub fn read_all(folder: &Path, root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(read_all(&path, root));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy();
            found.push(Source::parse(&path.replace('\\', "/"), &text));
        }
    }
    found
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let tokens = without_inline_tests(tokens);
        Self { path: path.to_owned(), lines: text.lines().count(), tokens }
    }

    /// The room that the file is in; none for `lib.rs` and `main.rs`.
    pub fn room(&self) -> Option<String> {
        let inner = self.path.strip_prefix("src/")?;
        inner.split_once('/').map(|(room, _)| room.to_owned())
    }

    /// How many modules deep a token is: 1 in `src/log/mod.rs`, 2 in `src/log/ring.rs`, and one more
    /// in each `mod` block.
    fn depth_at(&self, at: usize) -> usize {
        let parts = self.path.trim_start_matches("src/").split('/').count();
        let of_file = if self.path.ends_with("/mod.rs") { parts - 1 } else { parts };
        let mut blocks = Vec::new();
        for (index, token) in self.tokens[..at].iter().enumerate() {
            match token.as_str() {
                "{" => blocks.push(index >= 2 && self.tokens[index - 2] == "mod"),
                "}" => drop(blocks.pop()),
                _ => {}
            }
        }
        of_file + blocks.into_iter().filter(|is_module| *is_module).count()
    }

    /// The rooms that the file names through `crate::` or enough `super::`.
    pub fn rooms_used(&self) -> BTreeSet<String> {
        self.paths_from_the_top().into_iter().filter_map(|path| path.first().cloned()).collect()
    }

    /// The items directly in a room that the file names.
    pub fn items_used_of(&self, room: &str) -> Vec<String> {
        let paths = self.paths_from_the_top().into_iter();
        let items = paths.filter(|path| path[0] == room).filter_map(|path| path.get(1).cloned());
        items.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether an identifier stands anywhere in the file.
    pub fn names(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token == name)
    }

    /// Whether a method of that name is called.
    pub fn calls(&self, method: &str) -> bool {
        self.tokens.windows(3).any(|w| w[0] == "." && w[1] == method && w[2] == "(")
    }

    /// What follows `crate::` or enough `super::`, up to two steps, groups resolved.
    fn paths_from_the_top(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let mut next = at;
            let mut ups = 0;
            let is_crate = self.tokens[next] == "crate";
            if is_crate {
                next += 1;
            } else {
                while self.token(next) == "super" && self.is_path_separator(next + 1) {
                    ups += 1;
                    next += 3;
                }
                next = next.saturating_sub(2).max(at);
            }
            let from_the_top = is_crate || (ups > 0 && ups >= self.depth_at(at));
            if from_the_top && self.is_path_separator(next) {
                self.collect(next + 2, &[], &mut found);
            }
            at = next.max(at) + 1;
        }
        found
    }

    fn collect(&self, at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) {
        if self.token(at) == "{" {
            let (mut at, mut depth, mut expects_item) = (at + 1, 1, true);
            while depth > 0 && at < self.tokens.len() {
                match self.token(at) {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => expects_item = true,
                    _ if depth == 1 && expects_item => {
                        expects_item = false;
                        self.collect(at, prefix, found);
                    }
                    _ => {}
                }
                at += 1;
            }
            return;
        }
        let path = [prefix, &[self.token(at).to_owned()]].concat();
        if path.len() < 2 && self.is_path_separator(at + 1) {
            self.collect(at + 3, &path, found);
        } else {
            found.push(path);
        }
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    fn is_path_separator(&self, at: usize) -> bool {
        self.token(at) == ":" && self.token(at + 1) == ":"
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<String>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                tokens.push(open.to_owned());
                flatten(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            TokenTree::Ident(name) => tokens.push(name.to_string()),
            TokenTree::Punct(mark) => tokens.push(mark.as_char().to_string()),
            // Also what doc comments become.
            TokenTree::Literal(_) => tokens.push("\"literal\"".to_owned()),
        }
    }
}

/// Drops every `#[cfg(test)] mod name { … }`.
fn without_inline_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test =
            tokens[at..].iter().zip(MARK).filter(|(token, mark)| token == mark).count() == 8;
        if is_test && tokens.get(at + 9).is_some_and(|token| token == "{") {
            let (mut end, mut depth) = (at + 10, 1);
            while depth > 0 && end < tokens.len() {
                depth += match tokens[end].as_str() {
                    "{" => 1,
                    "}" => -1,
                    _ => 0,
                };
                end += 1;
            }
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}
