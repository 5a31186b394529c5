//! ARCHITECTURE.md as rules: its table of layers, its table of libraries, and the functions that its prose names.

use std::collections::BTreeSet;

use crate::root;

/// What the document says.
pub struct Architecture {
    text: String,
    layers: Vec<(u32, Vec<String>)>,
    libraries: Vec<(Vec<String>, Vec<String>)>,
}

impl Architecture {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
        let layers: Vec<_> = rows(&text, "| layer |").map(|row| (row[0].parse().expect("a layer's number"), code_words(row[1]))).collect();
        let libraries: Vec<_> = rows(&text, "| libraries |").map(|row| (code_words(row[0]), code_words(row[1]))).collect();
        assert!(layers.len() > 3 && libraries.len() > 3, "both tables are there");
        Self { text, layers, libraries }
    }

    pub fn layer_of(&self, module: &str) -> Option<u32> {
        self.layers.iter().find(|(_, modules)| modules.iter().any(|name| name == module)).map(|(layer, _)| *layer)
    }

    pub fn modules(&self) -> Vec<String> {
        self.layers.iter().flat_map(|(_, modules)| modules.clone()).collect()
    }

    /// The folders and files of `src/` that may name a library; `None` where the document leaves it open.
    pub fn places_of(&self, library: &str) -> Option<&[String]> {
        self.libraries.iter().find(|(names, _)| names.iter().any(|name| name == library)).map(|(_, places)| places.as_slice())
    }

    /// The libraries that no folder of the pure core may name.
    pub fn libraries_of_shells(&self) -> BTreeSet<String> {
        let is_core = |place: &String| {
            let module = place.split('/').next().expect("a name");
            self.layer_of(module).is_some_and(|layer| layer <= CORE_LAYER_MAX)
        };
        self.libraries.iter().filter(|(_, places)| !places.iter().any(is_core)).flat_map(|(names, _)| names.clone()).collect()
    }

    /// The paths in backquotes outside the tables and drawings, by their last two names. One that ends in a variant (`Output::Transmit`) names its enum.
    pub fn paths_named(&self) -> BTreeSet<(String, String)> {
        let mut in_drawing = false;
        let mut paths = BTreeSet::new();
        for line in self.text.lines() {
            in_drawing ^= line.starts_with("```");
            if !in_drawing && !line.starts_with('|') {
                let is_path = |word: &String| word.contains("::") && word.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
                for path in code_words(line).into_iter().filter(is_path) {
                    let (owner, name) = path.rsplit_once("::").expect("a path");
                    let owner = owner.rsplit("::").next().expect("a name");
                    let is_variant = name.starts_with(char::is_uppercase);
                    paths.insert((owner.to_owned(), if is_variant { owner } else { name }.to_owned()));
                }
            }
        }
        assert!(paths.len() > 20, "the flows name functions: {paths:?}");
        paths
    }
}

/// The last layer of the pure core.
const CORE_LAYER_MAX: u32 = 5;

/// The cells of the rows of the table whose head begins so.
fn rows<'a>(text: &'a str, head: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    text.lines()
        .skip_while(move |line| !line.starts_with(head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// The words in backquotes.
fn code_words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
