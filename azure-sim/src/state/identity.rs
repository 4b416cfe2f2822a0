//! Managed identities: the tokens IMDS hands out, and what their bearers may do.
//!
//! A token looks like a JWT (`az` reads `tid` from it) but is not signed: it counts because it is
//! remembered here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ArmError;
use super::guid::Guids;
use super::roles::{self, RoleAssignment};
use super::wall;

/// Tokens remembered per identity; an older one counts as never issued.
const TOKENS_KEPT: usize = 8;

/// What an identity may do in ARM: a coarse filter that comes before the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rights {
    /// GET.
    pub read: bool,
    /// Everything else.
    pub write: bool,
    /// `join/action` on everything that a NIC refers to.
    pub join: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self { read: true, write: true, join: true }
    }
}

/// A managed identity: that of a VM, or a user-assigned one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Name of its VM; of a user-assigned one, its own.
    pub(crate) node: String,
    pub(crate) principal: String,
    /// Id of the VM, or its own if it is user-assigned.
    pub(crate) resource: String,
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) rights: Rights,
    /// `None`: everything that `rights` lets through.
    pub(crate) roles: Option<Vec<RoleAssignment>>,
    tokens: VecDeque<Token>,
}

/// A token; times in Unix milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) not_before_ms: u64,
    pub(crate) expires_ms: u64,
}

impl Identity {
    pub(crate) fn new(
        node: String,
        principal: String,
        resource: String,
        guids: &mut Guids,
    ) -> Self {
        Self {
            node,
            principal,
            resource,
            client_id: guids.next(),
            object_id: guids.next(),
            rights: Rights::default(),
            roles: None,
            tokens: VecDeque::new(),
        }
    }

    /// The token for a resource: the present one while a twelfth of its life is left, if IMDS
    /// caches, else a new one.
    pub(crate) fn token(
        &mut self,
        tenant: &str,
        resource: &str,
        unix_ms: u64,
        life_ms: u64,
        cached: bool,
        guids: &mut Guids,
    ) -> Token {
        if let Some(last) = self.tokens.back()
            && cached
            && last.expires_ms > unix_ms.saturating_add(life_ms / 12)
        {
            return last.clone();
        }
        let token = Token {
            text: jwt(&json!({
                "aud": resource,
                "iss": format!("https://sts.windows.net/{tenant}/"),
                "tid": tenant,
                "appid": self.client_id,
                "oid": self.object_id,
                "sub": self.object_id,
                "iat": unix_ms / 1_000,
                "nbf": unix_ms / 1_000,
                "exp": unix_ms.saturating_add(life_ms) / 1_000,
                "uti": guids.next(),
                "idtyp": "app",
                "ver": "1.0",
                "xms_mirid": self.resource,
            })),
            not_before_ms: unix_ms,
            expires_ms: unix_ms.saturating_add(life_ms),
        };
        self.tokens.push_back(token.clone());
        if self.tokens.len() > TOKENS_KEPT {
            self.tokens.pop_front();
        }
        token
    }

    /// Whether its roles allow something at a resource.
    pub(crate) fn has_role_for(&self, action: &str, resource: &str) -> bool {
        self.roles.as_deref().is_none_or(|given| roles::allows(given, action, resource))
    }

    pub(crate) fn forget_tokens(&mut self) {
        self.tokens.clear();
    }
}

/// The identities of a world: by key of the VM, user-assigned ones by their lower-case id.
pub(crate) type Identities = BTreeMap<String, Identity>;

fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whose token this is, expired or not.
pub(crate) fn whose<'a>(
    identities: &'a Identities,
    authorization: Option<&str>,
) -> Option<(&'a Identity, &'a Token)> {
    let text = bearer(authorization)?;
    identities.values().find_map(|identity| {
        let token = identity.tokens.iter().find(|token| token.text == text)?;
        Some((identity, token))
    })
}

/// The bearer, or 401. Codes are common knowledge, texts `[I]`.
pub(crate) fn authenticate<'a>(
    identities: &'a Identities,
    authorization: Option<&str>,
    tenant: &str,
    unix_ms: u64,
) -> Result<&'a Identity, ArmError> {
    let refuse = |code: &str, message: String| {
        let challenge = format!(
            "Bearer authorization_uri=\"https://login.windows.net/{tenant}\", \
             error=\"invalid_token\", error_description=\"{message}\""
        );
        Err(ArmError::front_door(401, code, message).with_header("WWW-Authenticate", challenge))
    };
    match whose(identities, authorization) {
        None => refuse("InvalidAuthenticationToken", "The access token is invalid.".to_owned()),
        Some((_, token)) if token.expires_ms <= unix_ms => refuse(
            "ExpiredAuthenticationToken",
            format!(
                "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
                wall::us(token.expires_ms),
                wall::us(unix_ms)
            ),
        ),
        Some((identity, _)) => Ok(identity),
    }
}

fn jwt(claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "azure-sim"});
    // No signature, but in the form of one: az takes it apart without verifying it. [W]
    let parts = [header.to_string(), claims.to_string(), "azure-sim signs nothing".to_owned()];
    parts.map(|part| base64url(&part)).join(".")
}

/// What a JWT says, whoever signed it; `None` if it is none.
pub(crate) fn claims(jwt: &str) -> Option<Value> {
    let mut bits = 0_u32;
    let mut known = 0;
    let mut bytes = Vec::new();
    for c in jwt.split('.').nth(1)?.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == c)?;
        bits = (bits << 6) | u32::try_from(digit).ok()?;
        known += 6;
        if known >= 8 {
            known -= 8;
            bytes.push(u8::try_from((bits >> known) & 0xff).ok()?);
        }
    }
    serde_json::from_slice(&bytes).ok()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(text: &str) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3)
            .fold(0_u32, |bits, i| (bits << 8) | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * i)) & 0x3f;
            let _ = write!(out, "{}", char::from(ALPHABET[index as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_out_of_a_token_as_they_went_in() {
        for said in [json!({"iss": "a"}), json!({"iss": "ab?~"}), json!({"iss": "abc"})] {
            assert_eq!(claims(&jwt(&said)), Some(said));
        }
        assert_eq!(claims("no token"), None);
        assert_eq!(claims("a.+.c"), None);
    }

    #[test]
    fn base64url_has_no_padding() {
        assert_eq!(base64url("f"), "Zg");
        assert_eq!(base64url("fo"), "Zm8");
        assert_eq!(base64url("foo"), "Zm9v");
        assert_eq!(base64url("~~~?"), "fn5-Pw");
    }
}
