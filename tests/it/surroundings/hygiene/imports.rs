//! Resolves the `use` paths and the inline paths of a crate's source to the files that define what they name.
//!
//! A path is followed through `crate`, `self`, `super`, child modules, aliases, globs and re-exports, so that an item
//! imported through a re-export counts as an import of its own file. Unit tests (`#[cfg(test)]`) do not count. Files
//! that can only be found by types, such as that of a method, are not followed.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// Most steps from a path to the item that it names.
const DEPTH: usize = 12;

/// Segments of a path, or of a module from the crate's root on.
type Path = Vec<String>;

/// Imports between files: from, to, and a path that makes the import.
pub type Imports = BTreeMap<(String, String), String>;

/// A crate's modules by their paths. The root is `lib.rs`; `main.rs` is a root of its own, called `main`.
pub struct Source {
    modules: BTreeMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// Names that the module defines itself.
    items: BTreeSet<String>,
    /// Imported names with the paths that they stand for.
    aliases: Vec<(String, Path)>,
    /// Modules whose names are all imported.
    globs: Vec<Path>,
    /// Paths within code, those in macros included.
    inline: Vec<Path>,
    /// The module has code of its own, besides declarations of modules and imports.
    has_code: bool,
}

/// The end of a path: a module, or an item of one.
enum Target {
    Module(Path),
    Item(Path),
}

impl Source {
    /// Reads the files, which are named by their paths below `src`.
    pub fn read(files: &BTreeMap<String, String>) -> Self {
        let mut source = Self {
            modules: BTreeMap::new(),
        };
        for (root, path) in [("lib.rs", vec![]), ("main.rs", vec!["main".to_owned()])] {
            if files.contains_key(root) {
                source.read_file(files, root, path);
            }
        }
        source
    }

    fn read_file(&mut self, files: &BTreeMap<String, String>, file: &str, path: Path) {
        let text = &files[file];
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut reader = Reader {
            file,
            module: path,
            modules: BTreeMap::new(),
            children: Vec::new(),
        };
        reader.read(&parsed.items);
        let children = std::mem::take(&mut reader.children);
        self.modules.append(&mut reader.modules);
        let stem = file.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod")) => format!("{folder}/"),
            None if ["lib", "main"].contains(&stem) => String::new(),
            _ => format!("{stem}/"),
        };
        for child in children {
            let name = child.last().expect("a name");
            let places = [
                format!("{folder}{name}.rs"),
                format!("{folder}{name}/mod.rs"),
            ];
            let place = places.iter().find(|place| files.contains_key(*place));
            let place = place.unwrap_or_else(|| panic!("{file}: no file for module {name}"));
            self.read_file(files, place, child);
        }
    }

    /// Returns all imports of one file by another.
    ///
    /// # Panics
    /// If a path that begins with `crate`, `self` or `super` cannot be resolved.
    pub fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        let mut lost = Vec::new();
        for (path, module) in &self.modules {
            let used = module.aliases.iter().map(|(_, used)| used);
            let inline = module.inline.iter().map(|path| (path, path.len() == 1));
            let used = used.chain(&module.globs).map(|path| (path, false));
            for (used, is_name) in used.chain(inline) {
                let name = used.join("::");
                let target = match is_name {
                    // The name may be a variable. Only names from a glob import were not counted elsewhere.
                    true => self.through_globs(path, used, 0),
                    false => self.resolve(path, used, 0),
                };
                let Some(target) = target else {
                    let is_ours =
                        ["crate", "self", "super", "agira_worker"].contains(&used[0].as_str());
                    if is_ours && !is_name {
                        lost.push(format!("{}: {name}", module.file));
                    }
                    continue;
                };
                let (Target::Module(target) | Target::Item(target)) = target;
                let file = &self.modules[&target].file;
                if *file != module.file {
                    imports.insert((module.file.clone(), file.clone()), name);
                }
            }
        }
        assert!(lost.is_empty(), "paths that lead nowhere: {lost:#?}");
        imports
    }

    /// Returns the files that only declare modules and re-export: they belong to no circle.
    pub fn fronts(&self) -> BTreeSet<&str> {
        let with_code = self.modules.values().filter(|module| module.has_code);
        let with_code: BTreeSet<&str> = with_code.map(|module| module.file.as_str()).collect();
        let all = self.modules.values().map(|module| module.file.as_str());
        all.filter(|file| !with_code.contains(file)).collect()
    }

    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        // Names that resolve to themselves, such as those of other crates, would be followed for ever.
        if depth > DEPTH {
            return None;
        }
        let root = usize::from(from.first().is_some_and(|first| first == "main"));
        let (mut module, mut rest) = match path[0].as_str() {
            "agira_worker" => (&from[..0], &path[1..]),
            "crate" => (&from[..root], &path[1..]),
            "self" => (from, &path[1..]),
            "super" => (from, path),
            _ => (from, path),
        };
        while rest.first().is_some_and(|first| first == "super") {
            module = &module[..module.len().checked_sub(1)?];
            rest = &rest[1..];
        }
        self.member(module, rest, depth)
    }

    fn member(&self, module: &[String], path: &[String], depth: usize) -> Option<Target> {
        if depth > DEPTH {
            return None;
        }
        let Some((name, rest)) = path.split_first() else {
            return Some(Target::Module(module.to_vec()));
        };
        let child = [module, std::slice::from_ref(name)].concat();
        if self.modules.contains_key(&child) {
            return self.member(&child, rest, depth + 1);
        }
        let found = &self.modules[module];
        if found.items.contains(name) {
            return Some(Target::Item(module.to_vec()));
        }
        for (_, full) in found.aliases.iter().filter(|(alias, _)| alias == name) {
            let full = [full, rest].concat();
            let target = self.resolve(module, &full, depth + 1);
            if target.is_some() {
                return target;
            }
        }
        self.through_globs(module, path, depth)
    }

    fn through_globs(&self, module: &[String], path: &[String], depth: usize) -> Option<Target> {
        self.modules[module].globs.iter().find_map(|glob| {
            match self.resolve(module, glob, depth + 1)? {
                Target::Module(target) if target != module => self.member(&target, path, depth + 1),
                _ => None,
            }
        })
    }
}

/// Reader of the modules of one file.
struct Reader<'a> {
    file: &'a str,
    module: Path,
    modules: BTreeMap<Path, Module>,
    /// Modules that are in files of their own.
    children: Vec<Path>,
}

impl Reader<'_> {
    fn read(&mut self, items: &[Item]) {
        self.current();
        for item in items {
            self.visit_item(item);
        }
    }

    fn current(&mut self) -> &mut Module {
        let file = self.file.to_owned();
        let new = || Module {
            file,
            ..Module::default()
        };
        self.modules.entry(self.module.clone()).or_insert_with(new)
    }

    fn add_use(&mut self, tree: &UseTree, mut path: Path) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.add_use(&tree.tree, path);
            }
            UseTree::Name(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                let alias = path.last().expect("a name").clone();
                self.current().aliases.push((alias, path));
            }
            UseTree::Rename(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                let alias = tree.rename.to_string();
                self.current().aliases.push((alias, path));
            }
            UseTree::Glob(_) => self.current().globs.push(path),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, path.clone());
                }
            }
        }
    }

    /// Adds the paths in the arguments of a macro, which the parser does not resolve.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Path::new(), 0);
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if colons == 2 => path.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.add_inline(std::mem::replace(&mut path, vec![ident.to_string()]));
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                _ => self.add_inline(std::mem::take(&mut path)),
            }
            colons = 0;
            if let TokenTree::Group(group) = token {
                self.add_tokens(group.stream());
            }
        }
        self.add_inline(path);
    }

    fn add_inline(&mut self, path: Path) {
        if !path.is_empty() {
            self.current().inline.push(path);
        }
    }
}

/// Returns true for an item that only unit tests use.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_named = |name: &str| attribute.path().is_ident(name);
        let argument = || attribute.parse_args::<syn::Ident>();
        is_named("cfg") && argument().is_ok_and(|argument| argument == "test")
    })
}

/// Returns the attributes and the name of an item; the name is empty where it defines none.
fn described(item: &Item) -> (&[Attribute], String) {
    match item {
        Item::Const(item) => (&item.attrs, item.ident.to_string()),
        Item::Enum(item) => (&item.attrs, item.ident.to_string()),
        Item::Fn(item) => (&item.attrs, item.sig.ident.to_string()),
        Item::Static(item) => (&item.attrs, item.ident.to_string()),
        Item::Struct(item) => (&item.attrs, item.ident.to_string()),
        Item::Trait(item) => (&item.attrs, item.ident.to_string()),
        Item::Type(item) => (&item.attrs, item.ident.to_string()),
        Item::Union(item) => (&item.attrs, item.ident.to_string()),
        Item::Impl(item) => (&item.attrs, String::new()),
        Item::Mod(item) => (&item.attrs, String::new()),
        Item::Use(item) => (&item.attrs, String::new()),
        Item::Macro(item) => {
            let name = item.ident.as_ref().map(ToString::to_string);
            (&item.attrs, name.unwrap_or_default())
        }
        _ => (&[], String::new()),
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = described(item);
        if is_test(attributes) {
            return;
        }
        if !matches!(item, Item::Mod(_) | Item::Use(_)) {
            self.current().has_code = true;
        }
        if !name.is_empty() {
            self.current().items.insert(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        match &item.content {
            Some((_, items)) => self.read(items),
            None => self.children.push(self.module.clone()),
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, Path::new());
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        self.add_inline(segments.map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        self.visit_path(&found.path);
        self.add_tokens(found.tokens.clone());
    }

    /// `pub(super)` is not an import.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// Returns all files that a file imports, directly or through others.
fn reached<'a>(edges: &[(&str, &'a str, &str)], start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![start.to_owned()];
    while let Some(file) = next.pop() {
        for (_, to, _) in edges.iter().filter(|(from, _, _)| *from == file) {
            if reached.insert(*to) {
                next.push((*to).to_owned());
            }
        }
    }
    reached
}

/// Returns the groups of files that import each other in a circle, each with all imports within it.
pub fn circles(imports: &Imports, fronts: &BTreeSet<&str>) -> Vec<Vec<String>> {
    let counts = |file: &str| !fronts.contains(file);
    let edges: Vec<(&str, &str, &str)> = imports
        .iter()
        .map(|((from, to), path)| (from.as_str(), to.as_str(), path.as_str()))
        .filter(|(from, to, _)| counts(from) && counts(to))
        .collect();
    let files: BTreeSet<&str> = edges.iter().map(|(from, _, _)| *from).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|file| (*file, reached(&edges, file)))
        .collect();
    let is_mutual = |one: &str, other: &str| {
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|to_| to_.contains(to));
        reaches(one, other) && reaches(other, one)
    };
    let mut circles = BTreeMap::<Vec<&str>, Vec<String>>::new();
    for (from, to, path) in edges.iter().filter(|(from, to, _)| is_mutual(from, to)) {
        let members = files.iter().filter(|file| is_mutual(from, file));
        circles
            .entry(members.copied().collect())
            .or_default()
            .push(format!("{from} -> {to} ({path})"));
    }
    circles.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> Source {
        let files = files.iter();
        Source::read(
            &files
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }

    fn pairs(source: &Source) -> Vec<String> {
        let imports = source.imports().into_keys();
        imports.map(|(from, to)| format!("{from} {to}")).collect()
    }

    #[test]
    fn every_form_of_a_path_leads_to_the_file_that_defines_the_item() {
        let leaf = (
            "leaf.rs",
            "pub struct Leaf; pub enum Kind { One } pub fn f() {}",
        );
        for code in [
            "use crate::leaf::Leaf;",
            "use crate::{leaf::{self, Kind::One}};",
            "use super::leaf::*;",
            "use crate::leaf as other; fn g() { other::f() }",
            "fn g(_: super::leaf::Leaf) {}",
            "fn g() { let _ = vec![1, crate::leaf::f()]; }",
            "fn g() { use self::super::leaf::f; f() }",
            "mod inner { use super::super::leaf::Leaf; }",
            "use crate::{front::Leaf};",
            "use crate::front::renamed::f;",
            "use crate::front::Anything;",
            "use crate::front; fn g(_: front::Leaf) {}",
        ] {
            let front = "mod more; pub use crate::leaf::Leaf; pub use crate::leaf as renamed; pub use more::*;";
            let source = source(&[
                ("lib.rs", "mod leaf; mod user; mod front;"),
                ("user.rs", code),
                ("front/mod.rs", front),
                ("front/more.rs", "pub use crate::leaf::Kind as Anything;"),
                leaf,
            ]);
            let pairs = pairs(&source);
            assert!(
                pairs.contains(&"user.rs leaf.rs".to_owned()),
                "{code}: {pairs:?}"
            );
        }
    }

    #[test]
    fn other_uses_of_a_path_do_not_count_as_imports() {
        for code in [
            "#[cfg(test)] mod tests { use crate::leaf::Leaf; }",
            "#[cfg(test)] use crate::leaf::Leaf;",
            "pub(super) struct Own; fn g() { let leaf = 1; drop(leaf); }",
            "use std::fmt; fn g() { fmt::format(format_args!(\"crate::leaf\")); }",
        ] {
            let source = source(&[
                ("lib.rs", "mod leaf; mod user;"),
                ("user.rs", code),
                ("leaf.rs", "pub struct Leaf;"),
            ]);
            assert_eq!(pairs(&source), [""; 0], "{code}");
        }
    }

    #[test]
    fn a_circle_is_reported_with_all_files_but_not_with_re_exporting_mod_files() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a/mod.rs", "mod x; mod y; pub use x::X;"),
            ("a/x.rs", "pub struct X; use super::y::Y;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "pub fn f() { crate::c::f() }"),
            ("c.rs", "pub fn f() { crate::d::f() }"),
            ("d.rs", "pub fn f() { crate::b::f() }"),
        ];
        let circled = source(&files);
        let expected = [
            "b.rs -> c.rs (crate::c::f)",
            "c.rs -> d.rs (crate::d::f)",
            "d.rs -> b.rs (crate::b::f)",
        ];
        assert_eq!(circles(&circled.imports(), &circled.fronts()), [expected]);
        let with_code = ("a/mod.rs", "mod x; mod y; pub use x::X; pub struct Own;");
        let user = ("a/x.rs", "pub struct X; use super::Own;");
        let circled = source(&[
            files[0],
            with_code,
            user,
            files[3],
            files[4],
            ("c.rs", ""),
            ("d.rs", ""),
        ]);
        assert!(
            std::panic::catch_unwind(|| circled.imports()).is_err(),
            "crate::c::f is not there"
        );
        let circled = source(&[("lib.rs", "mod a;"), with_code, user, files[3]]);
        assert_eq!(circles(&circled.imports(), &circled.fronts()).len(), 1);
    }
}
