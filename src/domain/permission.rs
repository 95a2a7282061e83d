//! Who may do what: the reserved scopes, the verbs that need them, and the principal that holds them.

use std::net::{IpAddr, SocketAddr};

use super::Error;
use super::Timestamp;
use super::ids::{AccountId, Environment, KeyId};
use super::scope::GrantedScopes;
use super::verdict::{DenialReason, Proof, Question, VerifiableKey, judge};

/// A reserved scope: a right over this service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Read keys.
    KeysRead,
    /// Create, change, rotate, enable and delete keys.
    KeysWrite,
    /// Disable and revoke keys, and expire their secrets.
    KeysRevoke,
    /// Read the audit log.
    AuditRead,
    /// Call the verifier, where it asks callers for a credential.
    VerifyCall,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::KeysRead, Self::KeysWrite, Self::KeysRevoke, Self::AuditRead, Self::VerifyCall];

    /// The scope that grants this permission, literally.
    pub fn scope(self) -> &'static str {
        match self {
            Self::KeysRead => "countersign.keys:read",
            Self::KeysWrite => "countersign.keys:write",
            Self::KeysRevoke => "countersign.keys:revoke",
            Self::AuditRead => "countersign.audit:read",
            Self::VerifyCall => "countersign.verify:call",
        }
    }
}

/// Everything that somebody can ask of this service with a credential, one for each RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `KeyAdmin.CreateKey`
    CreateKey,
    /// `KeyAdmin.GetKey`
    GetKey,
    /// `KeyAdmin.ListKeys`
    ListKeys,
    /// `KeyAdmin.UpdateKey`
    UpdateKey,
    /// `KeyAdmin.RotateKey`
    RotateKey,
    /// `KeyAdmin.ExpireSecret`
    ExpireSecret,
    /// `KeyAdmin.DisableKey`
    DisableKey,
    /// `KeyAdmin.EnableKey`
    EnableKey,
    /// `KeyAdmin.RevokeKey`
    RevokeKey,
    /// `KeyAdmin.DeleteKey`
    DeleteKey,
    /// `KeyAdmin.ListAuditEvents`
    ListAuditEvents,
    /// `KeyAdmin.WatchAuditEvents`
    WatchAuditEvents,
    /// `KeyAdmin.ListReplicas`
    ListReplicas,
    /// `KeyVerifier.Verify`, where callers need a credential
    Verify,
    /// `KeyVerifier.BatchVerify`, where callers need a credential
    BatchVerify,
    /// Envoy's `Authorization.Check`, where callers need a credential
    Check,
}

/// The one table of verbs: the full gRPC method name, and the permission that it needs.
pub const VERBS: [(Verb, &str, Permission); 16] = [
    (Verb::CreateKey, "countersign.v1.KeyAdmin/CreateKey", Permission::KeysWrite),
    (Verb::GetKey, "countersign.v1.KeyAdmin/GetKey", Permission::KeysRead),
    (Verb::ListKeys, "countersign.v1.KeyAdmin/ListKeys", Permission::KeysRead),
    (Verb::UpdateKey, "countersign.v1.KeyAdmin/UpdateKey", Permission::KeysWrite),
    (Verb::RotateKey, "countersign.v1.KeyAdmin/RotateKey", Permission::KeysWrite),
    (Verb::ExpireSecret, "countersign.v1.KeyAdmin/ExpireSecret", Permission::KeysRevoke),
    (Verb::DisableKey, "countersign.v1.KeyAdmin/DisableKey", Permission::KeysRevoke),
    (Verb::EnableKey, "countersign.v1.KeyAdmin/EnableKey", Permission::KeysWrite),
    (Verb::RevokeKey, "countersign.v1.KeyAdmin/RevokeKey", Permission::KeysRevoke),
    (Verb::DeleteKey, "countersign.v1.KeyAdmin/DeleteKey", Permission::KeysWrite),
    (Verb::ListAuditEvents, "countersign.v1.KeyAdmin/ListAuditEvents", Permission::AuditRead),
    (Verb::WatchAuditEvents, "countersign.v1.KeyAdmin/WatchAuditEvents", Permission::AuditRead),
    (Verb::ListReplicas, "countersign.v1.KeyAdmin/ListReplicas", Permission::KeysRead),
    (Verb::Verify, "countersign.v1.KeyVerifier/Verify", Permission::VerifyCall),
    (Verb::BatchVerify, "countersign.v1.KeyVerifier/BatchVerify", Permission::VerifyCall),
    (Verb::Check, "envoy.service.auth.v3.Authorization/Check", Permission::VerifyCall),
];

impl Verb {
    /// The permission that this verb needs, from [`VERBS`].
    pub fn permission(self) -> Permission {
        // The declaration order of `Verb` is that of the table; a test holds them together.
        VERBS[self as usize].2
    }

    /// Whether the verb is about the whole store, so that only keys of the reserved account may use it.
    pub fn is_of_the_whole_store(self) -> bool {
        self == Self::ListReplicas
    }
}

/// Where a call came from, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The peer's address without the port; empty for a local command.
    pub address: String,
    /// The `user-agent` header, cut to 256 bytes.
    pub user_agent: String,
    /// The W3C trace id, 32 hex digits, or empty.
    pub trace_id: String,
}

/// The address at the other end of the connection that carried a request. The transport puts it into
/// each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// On whose keys a principal may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// On those of every account.
    AllAccounts,
    /// On those of this account alone, which is never the reserved one.
    Account(AccountId),
}

impl Reach {
    /// The one account that it is confined to.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::AllAccounts => None,
            Self::Account(account) => Some(account),
        }
    }

    /// Whether keys of this account are within reach.
    pub fn covers(&self, account: &AccountId) -> bool {
        self.account().is_none_or(|own| own == account)
    }
}

/// Who makes a call, with what they may do. Made only from a proven credential.
#[derive(Debug, Clone)]
pub struct Principal {
    key_id: KeyId,
    secret_number: u32,
    reach: Reach,
    scopes: GrantedScopes,
    origin: Origin,
    peer: Option<IpAddr>,
}

impl Principal {
    /// The principal that a credential proves, if its key is live, active, unexpired and allowed from
    /// the peer's address.
    pub fn authenticate(
        proof: &Proof<'_>,
        peer: Option<IpAddr>,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Self, DenialReason> {
        judge(proof, &admission(peer), now)?;
        let key = proof.key();
        let reach = if key.account_id.is_reserved() {
            Reach::AllAccounts
        } else {
            Reach::Account(key.account_id.clone())
        };
        Ok(Self {
            key_id: key.key_id.clone(),
            secret_number: proof.slot().number,
            reach,
            scopes: key.scopes.clone(),
            origin,
            peer,
        })
    }

    /// The key that the principal presented.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The version of its secret that the principal presented.
    pub fn secret_number(&self) -> u32 {
        self.secret_number
    }

    /// The address that the principal calls from.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// On whose keys the principal may act.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Where the call came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The principal as its key is now (`None`: gone), if it would be admitted and hold the permission:
    /// for calls that last longer than a key may, and under the writer's lock, where what was true when
    /// the call came in may be true no more.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] or [`Error::PermissionDenied`], if not.
    pub fn renewed(
        &self,
        permission: Permission,
        key: Option<&VerifiableKey>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let proof = key.and_then(|key| Proof::renewed(key, self.secret_number));
        let admitted = proof.filter(|proof| judge(proof, &admission(self.peer), now).is_ok());
        let admitted = admitted.ok_or(Error::Unauthenticated("the key lost its right"))?;
        let scopes = admitted.key().scopes.clone();
        if grants(&scopes, permission) {
            Ok(Self { scopes, ..self.clone() })
        } else {
            Err(lacks(permission))
        }
    }

    /// Whether the principal holds a permission.
    pub fn holds(&self, permission: Permission) -> bool {
        grants(&self.scopes, permission)
    }

    /// Refuses a verb whose permission the principal does not hold, or that is of the whole store when the
    /// principal is of one account.
    pub fn require(&self, verb: Verb) -> Result<(), Error> {
        let permission = verb.permission();
        if !self.holds(permission) {
            return Err(lacks(permission));
        }
        if verb.is_of_the_whole_store() && self.reach.account().is_some() {
            let needs = format!("needs a key of the account {}", AccountId::RESERVED);
            return Err(Error::PermissionDenied(needs));
        }
        Ok(())
    }

    /// Refuses to hand out, or to gain control over, reserved scopes that the principal does not hold.
    pub fn require_all_reserved_of(&self, scopes: &GrantedScopes) -> Result<(), Error> {
        let lacking = scopes.reserved().find(|scope| self.scopes.iter().all(|own| own != *scope));
        lacking.map_or(Ok(()), |scope| {
            Err(Error::PermissionDenied(format!(
                "the key holds the reserved scope {scope}, which you do not hold yourself"
            )))
        })
    }
}

/// A reserved scope is granted literally: no wildcard covers it.
fn grants(scopes: &GrantedScopes, permission: Permission) -> bool {
    scopes.iter().any(|scope| scope.as_str() == permission.scope())
}

fn lacks(permission: Permission) -> Error {
    Error::PermissionDenied(format!("needs the scope {}", permission.scope()))
}

/// What is asked of a credential that calls this service itself.
pub fn admission(peer: Option<IpAddr>) -> Question<'static> {
    Question {
        required_scopes: &[],
        client_ip: peer,
        account_id: None,
        application_id: None,
        environment: Environment::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_verbs() {
        for (index, (verb, ..)) in VERBS.iter().enumerate() {
            assert_eq!(*verb as usize, index);
        }
    }

    #[test]
    fn every_permission_is_a_scope_that_can_be_granted() {
        let all = GrantedScopes::parse(Permission::ALL.map(Permission::scope));
        assert_eq!(all.expect("grantable").reserved().count(), Permission::ALL.len());
    }
}
