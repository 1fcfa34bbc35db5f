//! What a presented key may do: scopes, grants, accounts, the route table, and the decision.
//!
//! Everything here is pure: the time is an argument, and nothing does I/O. A decision needs three things.
//!
//! 1. The **grant** ([`Grant`]) and the **account** ([`Account`]) that owns it: believable copies, found by the folders to
//!    the right. How they became believable is not this folder's business.
//! 2. The **demand** ([`Demand`]): what the request needs. It comes from the `scope` parameters of a verify request
//!    ([`parse_demand`]) or from the rule of the route table that covers the request ([`RouteTable::find`]).
//! 3. The time, in Unix milliseconds ([`UnixMillis`]).
//!
//! [`decide()`] makes a [`Decision`] of them. A denial is a value, not an error; what it looks like on the wire is decided
//! elsewhere.
//!
//! ## The route table
//!
//! `routes.toml` is read by the build script, which includes `route_source.rs` and what it needs of this folder, and writes
//! a Rust table. So the Worker holds no TOML parser, the table costs nothing at start-up, and a wrong table does not build.
//! The files that the build script names therefore name nothing outside themselves except `std` and `toml`.
//!
//! A rule decides by the *spelling* of the path, and the upstream by what it makes of that spelling. The two must not come
//! apart: [`CanonicalPath`] admits only paths with one spelling, and [`RouteTable::find`] takes no other.

mod account;
mod address;
mod catalogue;
#[cfg(test)]
mod catalogue_source;
mod decide;
mod demand;
mod feature;
mod fields;
mod grant;
mod methods;
mod path;
mod pattern;
mod reason;
mod role;
mod route;
#[cfg(test)]
mod route_source; // like the other two, otherwise part of the build script only
mod scope;
#[cfg(test)]
mod source;
mod stored;
mod time;

pub use account::{Access, Account, AccountFault, AccountStatus, ApiAccess, RevokedBefore, WORKSPACES_MAX, Workspace};
pub use address::{Address, AllowedIps, AllowedIpsError, BLOCKS_MAX};
pub use catalogue::{
    CATALOGUE_MAX, Catalogue, CatalogueEntry, CatalogueError, DESCRIPTION_MAX, UnknownScope, VERBS_MAX,
};
pub use decide::{Decision, Denial, Principal, TokenFault, decide};
pub use demand::{Demand, DemandError, parse_demand};
pub use feature::{FEATURE, is_feature};
pub use fields::{FIELDS_BYTES_MAX, Fields, FieldsError};
pub use grant::{EffectiveStatus, Grant, KeyStatus};
pub use methods::{Methods, MethodsError};
pub use path::{CanonicalPath, PathError, PathFault};
pub use pattern::{Pattern, PatternError};
pub use reason::Reason;
pub use role::Role;
pub use route::{RouteTable, Rule};
pub use scope::{MAX_SCOPES, Scope, ScopeError, ScopeSet, ScopeSetError};
pub use time::{DAY_MS, HOUR_MS, TimeError, UnixMillis};
