//! A source file, read as tokens, so that comments and strings are not taken for code.

use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use crate::root;

/// One file.
pub struct Source {
    /// Relative to the root of the repository.
    pub path: String,
    pub text: String,
    tokens: Vec<Token>,
}

/// A token, flat: what a group holds follows its opening delimiter.
struct Token {
    text: String,
    line: usize,
    is_ident: bool,
}

/// Every source file below `folder`, of Rust and of the page; none that a tool made or fetched.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
            if path.is_dir() {
                if !["node_modules", "dist", "target"].contains(&name) {
                    folders.push(path);
                }
            } else if ["rs", "ts", "js", "css"].iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
                found.push(Source::read(path.strip_prefix(root()).expect("below the root").to_str().expect("a plain path")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no source below {folder}");
    found
}

impl Source {
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(root().join(path)).expect("a text file");
        let mut tokens = Vec::new();
        if Path::new(path).extension().is_some_and(|ending| ending == "rs") {
            let stream = TokenStream::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            flatten(stream, &mut tokens);
        }
        Self { path: path.to_owned(), text, tokens }
    }

    /// The module of the library that it belongs to; the two roots belong to none.
    pub fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let first = inner.split('/').next().expect("a name");
        let module = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&module)).then_some(module)
    }

    /// Whether it is below a folder (`driver/`), or is the file, of `src/`.
    pub fn is_in(&self, place: &str) -> bool {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        if place.ends_with('/') { inner.starts_with(place) } else { inner == place }
    }

    /// The modules of the library that it names by `crate::name` or `nexus_gateway::name`, with their lines.
    pub fn own_modules_named(&self) -> Vec<(String, usize)> {
        let mut named = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            if token.is_ident
                && (token.text == "crate" || token.text == "nexus_gateway")
                && self.is_path_start(at)
                && self.text_at(at + 1) == "::"
            {
                assert_ne!(self.text_at(at + 2), "{", "{}:{}: one `use` a module, so that its layer can be read", self.path, token.line);
                if self.tokens.get(at + 2).is_some_and(|next| next.is_ident) {
                    named.push((self.tokens[at + 2].text.clone(), token.line));
                }
            }
        }
        named
    }

    /// The first name of every path, with its line: crates among them.
    pub fn crates_named(&self) -> Vec<(String, usize)> {
        let mut named = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let leads_on = self.text_at(at + 1) == "::" || (at > 0 && self.text_at(at - 1) == "use");
            if token.is_ident && leads_on && self.is_path_start(at) {
                named.push((token.text.clone(), token.line));
            }
        }
        named
    }

    /// The modules that it declares (`mod name;`), sorted.
    pub fn modules_declared(&self) -> Vec<String> {
        let mut names: Vec<_> =
            (1..self.tokens.len()).filter(|&at| self.text_at(at - 1) == "mod").map(|at| self.tokens[at].text.clone()).collect();
        names.sort();
        names
    }

    /// Whether it defines `owner::name`: a function of a type that it names, an item or a part of the module that it belongs to.
    pub fn defines(&self, owner: &str, name: &str) -> bool {
        const KEYWORDS: [&str; 5] = ["fn", "struct", "enum", "trait", "mod"];
        let defined = (1..self.tokens.len()).any(|at| self.text_at(at) == name && KEYWORDS.contains(&self.text_at(at - 1)));
        defined && (self.module() == Some(owner) || self.tokens.iter().any(|token| token.is_ident && token.text == owner))
    }

    /// Where this identifier stands.
    pub fn lines_of_ident(&self, name: &str) -> Vec<usize> {
        self.tokens.iter().filter(|token| token.is_ident && token.text == name).map(|token| token.line).collect()
    }

    /// The comment lines right above a line; attributes and the beginning of the statement that goes on there may stand between.
    pub fn comment_before(&self, line: usize) -> String {
        let above: Vec<_> = self.text.lines().take(line - 1).collect();
        let is_comment = |text: &&&str| text.trim_start().starts_with("//");
        let from_comment = above.iter().rev().take(3).skip_while(|text| !is_comment(text)).count();
        let skipped = above.len().min(3) - from_comment;
        above.iter().rev().skip(skipped).take_while(is_comment).copied().collect::<Vec<_>>().join("\n")
    }

    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Whether no path leads to this token; a `::` in front of the first name says that it is a crate.
    fn is_path_start(&self, at: usize) -> bool {
        match at.checked_sub(1).map(|before| self.text_at(before)) {
            None => true,
            Some("::") => at < 2 || (!self.tokens[at - 2].is_ident || self.text_at(at - 2) == "use") && self.text_at(at - 2) != ">",
            Some(before) => before != ".",
        }
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut joint = String::new();
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token { text: open.to_owned(), line, is_ident: false });
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line, is_ident: false });
            }
            TokenTree::Ident(ident) => tokens.push(Token { text: ident.to_string(), line, is_ident: true }),
            TokenTree::Punct(punct) => {
                joint.push(punct.as_char());
                if punct.spacing() == Spacing::Alone || joint == "::" {
                    tokens.push(Token { text: std::mem::take(&mut joint), line, is_ident: false });
                }
            }
            TokenTree::Literal(_) => tokens.push(Token { text: "literal".to_owned(), line, is_ident: false }),
        }
    }
}
