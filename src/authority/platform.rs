//! The platform: what is on for every account. Each shard has it in its own row, and says it with every lease; so it
//! counts as soon as any other change does, and no copy of an account has to be written for it.
//!
//! It belongs to no account, so no audit has it.

use crate::json::ToJson;

use super::{
    command::{Answer, Failure, Work},
    feed::{self, FeedSubject},
    meta,
    outbox::KvKey,
    sql::{Sql, SqlError, only},
};

/// Sets the features that are on for every account.
pub(super) fn set<S: Sql>(work: &Work<'_, S>, features: &[String]) -> Result<(Answer, Vec<KvKey>), Failure> {
    let sql = work.sql;
    if features != self::features(sql)? {
        let sequence = meta::next_sequence(sql)?;
        sql.run("UPDATE meta SET features = ?1", &[features.to_vec().to_json().into()])?;
        feed::record(sql, &FeedSubject::platform(), sequence)?;
    }
    Ok((Answer::Platform(features.to_vec()), Vec::new()))
}

/// The features that are on for every account.
pub(super) fn features(sql: &impl Sql) -> Result<Vec<String>, SqlError> {
    only(sql.run("SELECT features FROM meta", &[])?)?.json()
}
