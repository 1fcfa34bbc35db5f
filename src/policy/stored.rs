//! How grants, accounts and what they consist of are written as JSON, in copies and in columns.
//!
//! What is read is what was written: an unknown member makes the whole unreadable, since it might take a right away.

use crate::json::{FromJson, Json, Object, ObjectWriter, ToJson, all, array, quoted};

use super::{
    Access, Account, AccountStatus, AllowedIps, ApiAccess, Fields, Grant, KeyStatus, RevokedBefore, ScopeSet,
    UnixMillis, Workspace,
};
use crate::credential::{AccountRef, KeyId, WorkspaceId};

impl ToJson for Grant {
    fn to_json(&self) -> String {
        ObjectWriter::new()
            .text("id", &self.id.to_string())
            .text("account", &self.account.to_string())
            .text("environment", self.environment.as_str())
            .value("scopes", &self.scopes)
            .if_any("workspaces", self.workspaces.clone())
            .if_any("fields", Some(self.fields.clone()).filter(|fields| !fields.is_empty()))
            .if_any("allowed_ips", self.allowed_ips.clone())
            .text("status", self.status.as_str())
            .if_any("not_before", self.not_before.map(UnixMillis::as_millis))
            .if_any("expires_at", self.expires_at.map(UnixMillis::as_millis))
            .number("issued_at", self.issued_at)
            .end()
    }
}

impl FromJson for Grant {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let grant = Grant {
            id: members.parsed("id", KeyId::parse)?,
            account: members.parsed("account", AccountRef::parse)?,
            environment: members.parsed("environment", |word| word.parse().ok())?,
            scopes: ScopeSet::from_json(members.take("scopes")?)?,
            workspaces: optional(&mut members, "workspaces")?,
            fields: optional(&mut members, "fields")?.unwrap_or_default(),
            allowed_ips: optional(&mut members, "allowed_ips")?,
            status: members.parsed("status", KeyStatus::parse)?,
            not_before: instant(&mut members, "not_before")?,
            expires_at: instant(&mut members, "expires_at")?,
            issued_at: members.take("issued_at")?.whole()?,
        };
        members.end(grant)
    }
}

/// Absent and null mean the same.
fn instant(members: &mut Object<'_>, name: &str) -> Option<Option<UnixMillis>> {
    match members.take(name) {
        None | Some(Json::Null) => Some(None),
        Some(json) => {
            json.whole().filter(|millis| *millis <= UnixMillis::MAX.as_millis()).map(UnixMillis::from_millis).map(Some)
        }
    }
}

impl ToJson for Account {
    fn to_json(&self) -> String {
        ObjectWriter::new()
            .text("id", &self.id.to_string())
            .text("status", self.status.as_str())
            .value("api_access", &self.api_access)
            .value("features", &self.features)
            .if_any("workspaces", Some(self.workspaces.clone()).filter(|workspaces| !workspaces.is_empty()))
            .if_any("revoked_before", Some(self.revoked_before).filter(|before| *before != RevokedBefore::default()))
            .if_any("explain_refusals", self.explain_refusals.then_some(true))
            .end()
    }
}

impl FromJson for Account {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let account = Account {
            id: members.parsed("id", AccountRef::parse)?,
            status: members.parsed("status", AccountStatus::parse)?,
            api_access: ApiAccess::from_json(members.take("api_access")?)?,
            features: Vec::from_json(members.take("features")?)?,
            workspaces: optional(&mut members, "workspaces")?.unwrap_or_default(),
            revoked_before: optional(&mut members, "revoked_before")?.unwrap_or_default(),
            explain_refusals: optional(&mut members, "explain_refusals")?.unwrap_or_default(),
        };
        members.end(account)
    }
}

/// A member that need not be there.
fn optional<T: FromJson>(members: &mut Object<'_>, name: &str) -> Option<Option<T>> {
    members.take(name).map_or(Some(None), |json| T::from_json(json).map(Some))
}

impl ToJson for WorkspaceId {
    fn to_json(&self) -> String {
        quoted(&self.to_string())
    }
}

impl FromJson for WorkspaceId {
    fn from_json(json: Json<'_>) -> Option<Self> {
        WorkspaceId::parse(&json.text()?)
    }
}

impl ToJson for Fields {
    fn to_json(&self) -> String {
        self.to_string()
    }
}

impl FromJson for Fields {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let lists = json.object()?.into_members().map(|(resource, names)| Some((resource, names.texts()?)));
        Fields::new(all(lists)?).ok()
    }
}

impl ToJson for AllowedIps {
    fn to_json(&self) -> String {
        array(self.iter().map(quoted))
    }
}

impl FromJson for AllowedIps {
    fn from_json(json: Json<'_>) -> Option<Self> {
        AllowedIps::parse(json.texts()?.iter().map(AsRef::as_ref)).ok()
    }
}

impl ToJson for Workspace {
    fn to_json(&self) -> String {
        ObjectWriter::new().value("id", &self.id).text("name", &self.name).end()
    }
}

impl FromJson for Workspace {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let id = members.parsed("id", WorkspaceId::parse)?;
        let name = members.take("name")?.text()?.into_owned();
        members.end(Workspace { id, name })
    }
}

impl ToJson for RevokedBefore {
    fn to_json(&self) -> String {
        ObjectWriter::new().number("live", self.live).number("test", self.test).end()
    }
}

impl FromJson for RevokedBefore {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let before = RevokedBefore { live: members.take("live")?.whole()?, test: members.take("test")?.whole()? };
        members.end(before)
    }
}

impl ToJson for ApiAccess {
    fn to_json(&self) -> String {
        ObjectWriter::new().text("live", self.live.as_str()).text("test", self.test.as_str()).end()
    }
}

impl FromJson for ApiAccess {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let mut members = json.object()?;
        let access =
            ApiAccess { live: members.parsed("live", Access::parse)?, test: members.parsed("test", Access::parse)? };
        members.end(access)
    }
}

impl ToJson for ScopeSet {
    fn to_json(&self) -> String {
        array(self.iter().map(|scope| quoted(scope.as_str())))
    }
}

impl FromJson for ScopeSet {
    fn from_json(json: Json<'_>) -> Option<Self> {
        ScopeSet::parse(json.texts()?.iter().map(AsRef::as_ref)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn grant(not_before: &str) -> Option<Grant> {
        json::read(&format!(
            r#"{{"id":"key_abababababababababab","account":"acct_0102000003","environment":"live","scopes":[],"status":"active","not_before":{not_before},"issued_at":7}}"#
        ))
    }

    #[test]
    fn an_instant_is_a_whole_number_of_milliseconds_up_to_the_largest() {
        assert_eq!(grant("9007199254740991").unwrap().not_before, Some(UnixMillis::MAX));
        assert_eq!(grant("5").unwrap().not_before, Some(UnixMillis::from_millis(5)));
        assert_eq!(grant("null").unwrap().not_before, None);
        for wrong in ["9007199254740992", "-1", "1.5", "5.0", "\"5\"", "[5]"] {
            assert_eq!(grant(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_makes_it_unreadable() {
        assert_eq!(grant("5,\"not_before\":5"), None);
        assert_eq!(json::read::<ApiAccess>(r#"{"live":"off","live":"off","test":"off"}"#), None);
    }
}
