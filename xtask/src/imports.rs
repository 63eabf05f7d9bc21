//! Which source file uses which, and where that goes in a circle.
//!
//! Two files may know each other, as a module and its part do. A longer circle has neither a top nor
//! a bottom: none of its files can be understood before the others. It reads names and nothing else:
//! not tests, and not which module within a file a path starts from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The names from a crate's root to a module; the root's own are none.
type Module = Vec<String>;

/// The modules that each module uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// The circles of more than two files among these, each once. All files are of one crate, whose root
/// is in `folder`.
pub(crate) fn circles(folder: &Path, files: &[PathBuf]) -> Result<Vec<Vec<PathBuf>>> {
    let mut modules = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(file);
        // Nothing uses a program that has a library beside it.
        let module = modules.entry(module_of(name));
        module.or_insert_with(|| file.clone());
    }
    let known: BTreeSet<Module> = modules.keys().cloned().collect();
    let mut uses = Uses::new();
    for (module, file) in &modules {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        uses.insert(module.clone(), used_by(module, &text, &known));
    }
    let circles = find(&uses).into_iter();
    Ok(circles
        .map(|circle| {
            circle
                .iter()
                .map(|module| modules[module].clone())
                .collect()
        })
        .collect())
}

/// The module that a file is, by its path from its crate's root.
fn module_of(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if names.len() == 1 && ["lib", "main"].contains(&names[0].as_str()) {
        names.clear();
    }
    names.pop_if(|name| name == "mod");
    names
}

/// The modules whose names stand in a file, before its tests.
fn used_by(module: &[String], text: &str, known: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut used = BTreeSet::new();
    let mut note = |path: &[&str]| {
        used.extend(leads_to(module, path, known));
    };
    let tokens = tokens(text);
    let mut rest = &tokens[..];
    while let Some((&token, after)) = rest.split_first() {
        rest = after;
        if token == "use" {
            rest = read_tree(rest, &[], &mut note);
        } else if is_name(token) {
            let mut path = vec![token];
            while let ["::", name, after @ ..] = rest
                && is_name(name)
            {
                path.push(name);
                rest = after;
            }
            // One name alone is a variable, or something that was imported.
            if path.len() > 1 {
                note(&path);
            }
        } else if token == "::" {
            // Its path is from the root of all crates, or of a type.
            rest = rest.split_first().map_or(rest, |(_, after)| after);
        }
    }
    used.remove(module);
    used
}

/// Reads what follows `use` or a brace within it, to its end, and returns what comes then.
fn read_tree<'t>(
    mut tokens: &'t [&'t str],
    before: &[&'t str],
    note: &mut impl FnMut(&[&str]),
) -> &'t [&'t str] {
    let mut path = before.to_vec();
    while let Some((&token, after)) = tokens.split_first() {
        tokens = after;
        match token {
            "{" => {
                tokens = read_tree(tokens, &path, note);
                path = before.to_vec();
            }
            "," | "}" | ";" => {
                if path.len() > before.len() {
                    note(&path);
                }
                path = before.to_vec();
                if token != "," {
                    return tokens;
                }
            }
            // A new name is not part of the way.
            "as" => tokens = tokens.split_first().map_or(tokens, |(_, after)| after),
            // A path from the root of all crates is of another one.
            "::" if path.is_empty() => path.push("::"),
            name if is_name(name) => path.push(name),
            _ => {}
        }
    }
    tokens
}

/// The file that a path leads into, if it is one of this crate's.
fn leads_to(module: &[String], path: &[&str], known: &BTreeSet<Module>) -> Option<Module> {
    let (&first, rest) = path.split_first()?;
    let mut at = match first {
        "crate" => Module::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        child => {
            let module = [module, &[child.to_owned()]].concat();
            known.contains(&module).then_some(module)?
        }
    };
    for &name in rest {
        if name == "super" {
            at.pop();
            continue;
        }
        at.push(name.to_owned());
        if !known.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|char: char| char.is_alphabetic() || char == '_')
}

/// Names, `::` and single other characters, without comments and literals, up to the tests.
fn tokens(text: &str) -> Vec<&str> {
    let end = text.find("\n#[cfg(test)]\n").unwrap_or(text.len());
    let mut rest = &text[..end];
    let mut tokens = Vec::new();
    while let Some(char) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if char.is_alphanumeric() || char == '_' {
            let is_other = |char: char| !(char.is_alphanumeric() || char == '_');
            rest.find(is_other).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            literal(rest).unwrap_or(char.len_utf8())
        };
        let token;
        (token, rest) = rest.split_at(length);
        let is_left_out = token.starts_with("//") || token.starts_with(['"', '\'', ' ', '\n']);
        if !is_left_out {
            tokens.push(token);
        }
    }
    tokens
}

/// How long the string or character is with which the text begins; `None` if it is none.
fn literal(text: &str) -> Option<usize> {
    let quote = text
        .chars()
        .next()
        .filter(|char| ['"', '\''].contains(char))?;
    // A quote that no second one follows at once is that of a lifetime.
    let is_lifetime =
        quote == '\'' && !text[1..].starts_with('\\') && text.chars().nth(2) != Some('\'');
    if is_lifetime {
        return None;
    }
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, char)| {
        let is_end = char == quote && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_end
    });
    Some(end.map_or(text.len(), |(at, _)| at + 1))
}

/// For each use, the shortest way back that is longer than one step; each set of modules once.
fn find(uses: &Uses) -> Vec<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (from, used) in uses {
        for to in used {
            let Some(circle) = way(uses, to, from) else {
                continue;
            };
            let mut set = circle.clone();
            set.sort();
            if seen.insert(set) {
                circles.push(circle);
            }
        }
    }
    circles
}

/// The shortest way from one module to another by way of a third; both ends are in it.
fn way(uses: &Uses, from: &Module, to: &Module) -> Option<Vec<Module>> {
    let mut came_from = BTreeMap::new();
    let mut waiting = VecDeque::from([from]);
    while let Some(at) = waiting.pop_front() {
        for next in uses.get(at).into_iter().flatten() {
            if (at == from && next == to) || next == from || came_from.contains_key(next) {
                continue;
            }
            came_from.insert(next, at);
            waiting.push_back(next);
        }
    }
    let mut way = vec![to.clone()];
    while way.last() != Some(from) {
        way.push((*came_from.get(way.last()?)?).clone());
    }
    way.reverse();
    Some(way)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The circles of a crate with these files, as their names.
    fn check(sources: &[(&str, &str)], expected: &[&str]) {
        let folder = TempDir::new().expect("a folder");
        let mut files = Vec::new();
        for (name, text) in sources {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("its folder");
            fs::write(&file, text).expect("write");
            files.push(file);
        }
        let found = circles(folder.path(), &files).expect("read");
        let name = |file: &PathBuf| {
            let name = file.strip_prefix(folder.path()).expect("in the folder");
            name.display().to_string()
        };
        let found: Vec<String> = found
            .iter()
            .map(|circle| circle.iter().map(name).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_module_and_its_parts_may_know_each_other() {
        let sources = [
            ("lib.rs", "mod a; use a::B;"),
            ("a/mod.rs", "mod b; mod c; pub(crate) use b::B; use c::C;"),
            ("a/b.rs", "use super::C; pub(crate) struct B;"),
            ("a/c.rs", "use super::B; pub(super) struct C;"),
        ];
        check(&sources, &[]);
    }

    #[test]
    fn a_circle_of_three_is_found_however_it_is_written() {
        let with = |middle: &str| {
            check(
                &[
                    ("main.rs", "mod a; mod b; mod c;"),
                    ("a.rs", "use crate::b::{self, B};"),
                    ("b.rs", middle),
                    ("c/mod.rs", "mod d; fn f() -> u8 { crate::a::f() }"),
                    ("c/d.rs", ""),
                ],
                &["b.rs c/mod.rs a.rs"],
            );
        };
        with("use super::c::C;");
        with("use {std::fmt as c, super::{c as d, c::{self, d::E}}};");
        with("fn f(c: &crate::c::C) {}");
    }

    #[test]
    fn tests_literals_comments_and_other_crates_are_no_part_of_a_circle() {
        let sources = [
            ("lib.rs", "mod a; mod b; mod http;"),
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "use crate::http::H;\n#[cfg(test)]\nmod tests { use crate::a::A; }",
            ),
            (
                "c.rs",
                "use crate::a; const A: &str = \"crate::d\"; const B: char = '\"';",
            ),
            (
                "d.rs",
                "use crate::c; fn f<'a>(a: &'a u8) -> ::c::C<'a> { a }",
            ),
            (
                "http.rs",
                "use ::http::a; pub(crate) struct H<'a>(&'a str); // crate::a::A\n",
            ),
        ];
        check(&sources, &[]);
    }
}
