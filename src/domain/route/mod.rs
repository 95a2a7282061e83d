//! The route table: what a request to somebody's service needs, by method and path.
//!
//! No two entries are for the same request, so a table has no order and no surprise in it: what an entry asks for is
//! what holds.

mod pattern;
mod target;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::ids::{AccountId, ApplicationId, Environment};
use super::scope::KeptScope;
pub use pattern::{InvalidPattern, Pattern};
pub use target::{Ambiguous, MAX_PATH, Path};

/// The most entries of a table: they are tried one after another.
pub const MAX_ROUTES: usize = 500;
/// The most scopes of an entry, as of a Verify.
const MAX_SCOPES: usize = 100;

/// What an entry can say, for whoever documents it: the name, and what it means.
pub const FIELDS: [(&str, &str); 6] = [
    (
        "path",
        "the path of the request: segments as they are written, `{name}` for one of any text, `**` at the end for all that follow",
    ),
    ("methods", "the methods, in capitals; without, all of them"),
    ("scopes", "the scopes that the key must have, all of them; `[]`: any good key passes"),
    (
        "account",
        "the account that the key must be of: an id, or `{name}` for what stands in the path there",
    ),
    ("application", "the application that the key must be of, likewise"),
    ("environment", "`live` or `test`; without, `live`"),
];

/// An entry of the table as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The methods; empty, which is said by leaving them out: all.
    #[serde(default, deserialize_with = "some_methods")]
    pub methods: Vec<String>,
    /// The path, with captures.
    pub path: String,
    /// The scopes that are required.
    pub scopes: Vec<String>,
    /// The account, or a capture.
    #[serde(default)]
    pub account: Option<String>,
    /// The application, or a capture.
    #[serde(default)]
    pub application: Option<String>,
    /// Live or test.
    #[serde(default)]
    pub environment: Option<Environment>,
}

/// An empty list that meant all methods would open a route that somebody thought to close.
fn some_methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let methods = Vec::deserialize(deserializer)?;
    if methods.is_empty() {
        return Err(D::Error::custom("methods: must name some; leave it out for all of them"));
    }
    Ok(methods)
}

/// What a request needs. The parts of it that are `None` compare nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// Scopes that must all be covered.
    pub scopes: Vec<KeptScope>,
    /// The account that the request is about.
    pub account: Option<AccountId>,
    /// The application that the request is about.
    pub application: Option<ApplicationId>,
    /// The environment that the request is about; where nobody says one, it is live.
    pub environment: Option<Environment>,
}

/// Nothing can meet this demand: it names two accounts, or an account that can't exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmeetable;

impl Demand {
    /// Both demands in one.
    pub fn and(mut self, other: Self) -> Result<Self, Unmeetable> {
        for scope in other.scopes {
            if !self.scopes.contains(&scope) {
                self.scopes.push(scope);
            }
        }
        Ok(Self {
            scopes: self.scopes,
            account: same(self.account, other.account)?,
            application: same(self.application, other.application)?,
            environment: same(self.environment, other.environment)?,
        })
    }
}

fn same<T: PartialEq>(one: Option<T>, another: Option<T>) -> Result<Option<T>, Unmeetable> {
    match (one, another) {
        (Some(one), Some(another)) if one != another => Err(Unmeetable),
        (one, another) => Ok(one.or(another)),
    }
}

/// A table that was checked.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

#[derive(Debug, Clone)]
struct Route {
    line: usize,
    methods: Vec<String>,
    pattern: Pattern,
    scopes: Vec<KeptScope>,
    account: Option<Named<AccountId>>,
    application: Option<Named<ApplicationId>>,
    environment: Environment,
}

/// A name that the entry holds, or that stands in the path.
#[derive(Debug, Clone)]
enum Named<T> {
    Literally(T),
    InPath(String),
}

impl<T: std::fmt::Display> std::fmt::Display for Named<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literally(name) => write!(f, "{name}"),
            Self::InPath(name) => write!(f, "{{{name}}}"),
        }
    }
}

impl Routes {
    /// Checks entries, each with the line of the file that it begins in.
    ///
    /// # Errors
    ///
    /// What is wrong, with the line; of entries that overlap, with both.
    pub fn new(entries: impl IntoIterator<Item = (usize, Entry)>) -> Result<Self, String> {
        let mut routes: Vec<Route> = Vec::new();
        for (line, entry) in entries {
            if routes.len() == MAX_ROUTES {
                return Err(format!("line {line}: at most {MAX_ROUTES} routes are allowed"));
            }
            let route = Route::new(line, entry).map_err(|why| format!("line {line}: {why}"))?;
            if let Some(other) = routes.iter().find(|other| other.overlaps(&route)) {
                return Err(format!(
                    "the routes of line {} ({other}) and of line {line} ({route}) overlap: a request could be for either",
                    other.line
                ));
            }
            routes.push(route);
        }
        Ok(Self(routes))
    }

    /// What a request needs; `None` if no entry is for it.
    pub fn demand(&self, method: &str, path: &Path<'_>) -> Option<Result<Demand, Unmeetable>> {
        let route =
            self.0.iter().find(|route| route.takes(method) && route.pattern.matches(path))?;
        Some(route.demand(path))
    }

    /// Each entry in one line, for people.
    pub fn describe(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Route::describe)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Route {
    fn new(line: usize, entry: Entry) -> Result<Self, String> {
        let pattern = Pattern::parse(&entry.path).map_err(|why| why.to_string())?;
        let is_method = |method: &String| {
            !method.is_empty()
                && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        if let Some(bad) = entry.methods.iter().find(|method| !is_method(method)) {
            return Err(format!("methods: '{bad}' must be in capitals, e.g. GET"));
        }
        Ok(Self {
            line,
            methods: entry.methods,
            scopes: scopes(entry.scopes.iter().map(String::as_str))?,
            account: named("account", entry.account, &pattern, AccountId::parse)?,
            application: named("application", entry.application, &pattern, ApplicationId::parse)?,
            // An entry that does not say it means live, and not what somebody else may say of the same request.
            environment: entry.environment.unwrap_or(Environment::Live),
            pattern,
        })
    }

    fn describe(&self) -> String {
        let scopes: Vec<&str> = self.scopes.iter().map(KeptScope::as_str).collect();
        let mut said = format!("line {}: {self}, scopes [{}]", self.line, scopes.join(", "));
        let of = |what, name: String| format!(", {what} {name}");
        said.extend(self.account.as_ref().map(|name| of("account", name.to_string())));
        said.extend(self.application.as_ref().map(|name| of("application", name.to_string())));
        let environment = self.environment;
        said.push_str(&of("environment", environment.to_string()));
        said
    }

    fn takes(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|own| own == method)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let share_a_method = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.takes(method));
        share_a_method && self.pattern.overlaps(&other.pattern)
    }

    fn demand(&self, path: &Path<'_>) -> Result<Demand, Unmeetable> {
        Ok(Demand {
            scopes: self.scopes.clone(),
            account: resolve(self.account.as_ref(), &self.pattern, path, AccountId::parse)?,
            application: resolve(
                self.application.as_ref(),
                &self.pattern,
                path,
                ApplicationId::parse,
            )?,
            environment: Some(self.environment),
        })
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods =
            if self.methods.is_empty() { "any method".to_owned() } else { self.methods.join(",") };
        write!(f, "{methods} {}", self.pattern)
    }
}

/// Reads required scopes, as they stand in an entry or in what a gateway says of its route.
///
/// # Errors
///
/// The scope that is none, and why.
pub fn scopes<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<KeptScope>, String> {
    let read =
        texts.map(|text| KeptScope::parse(text).map_err(|why| format!("scopes: '{text}': {why}")));
    let scopes: Vec<KeptScope> = read.collect::<Result<_, _>>()?;
    if scopes.len() > MAX_SCOPES {
        return Err(format!("scopes: at most {MAX_SCOPES} can be required"));
    }
    Ok(scopes)
}

fn named<T, E: ToString>(
    field: &str,
    text: Option<String>,
    pattern: &Pattern,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<Named<T>>, String> {
    let Some(text) = text else { return Ok(None) };
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return if pattern.captures(name) {
            Ok(Some(Named::InPath(name.to_owned())))
        } else {
            Err(format!("{field}: the path has no {text}"))
        };
    }
    let literal = parse(&text).map_err(|why| format!("{field}: {}", why.to_string()))?;
    Ok(Some(Named::Literally(literal)))
}

fn resolve<T: Clone, E>(
    named: Option<&Named<T>>,
    pattern: &Pattern,
    path: &Path<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Unmeetable> {
    match named {
        None => Ok(None),
        Some(Named::Literally(name)) => Ok(Some(name.clone())),
        Some(Named::InPath(name)) => {
            let text = pattern.capture(name, path).ok_or(Unmeetable)?;
            parse(text).map(Some).map_err(|_| Unmeetable)
        }
    }
}

#[cfg(test)]
mod tests;
