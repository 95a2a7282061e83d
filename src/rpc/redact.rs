//! `Debug` of the messages that hold a secret, without it. The build leaves these out of what it derives.

use std::fmt;

use super::proto::gateway::envoy::config::core::v3::HeaderValue;
use super::proto::gateway::envoy::service::auth::v3::attribute_context::HttpRequest;
use super::proto::verify_request::Presented;
use super::proto::{CreateKeyResponse, Credential, RotateKeyResponse, VerifyRequest};

const REDACTED: &str = "(redacted)";

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Callers mix the two fields up, so the id may be a secret too.
        f.debug_struct("Credential").field("key_id", &REDACTED).field("secret", &REDACTED).finish()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(credential) => f.debug_tuple("Credential").field(credential).finish(),
            Self::Token(_) => f.debug_tuple("Token").field(&REDACTED).finish(),
        }
    }
}

impl fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            presented,
            required_scopes,
            client_ip,
            account_id,
            application_id,
            environment,
            explain,
            at_least,
        } = self;
        f.debug_struct("VerifyRequest")
            .field("presented", presented)
            .field("required_scopes", required_scopes)
            .field("client_ip", client_ip)
            .field("account_id", account_id)
            .field("application_id", application_id)
            .field("environment", environment)
            .field("explain", explain)
            .field("at_least", at_least)
            .finish()
    }
}

impl fmt::Debug for CreateKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, secret: _, consistency_token, replicas, effective_everywhere_by } = self;
        f.debug_struct("CreateKeyResponse")
            .field("key", key)
            .field("secret", &REDACTED)
            .field("consistency_token", consistency_token)
            .field("replicas", replicas)
            .field("effective_everywhere_by", effective_everywhere_by)
            .finish()
    }
}

impl fmt::Debug for RotateKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, secret: _, consistency_token, replicas, effective_everywhere_by } = self;
        f.debug_struct("RotateKeyResponse")
            .field("key", key)
            .field("secret", &REDACTED)
            .field("consistency_token", consistency_token)
            .field("replicas", replicas)
            .field("effective_everywhere_by", effective_everywhere_by)
            .finish()
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderValue").field("key", &self.key).field("value", &REDACTED).finish()
    }
}

/// A request as a gateway tells of it: its headers and its query may hold a credential.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("headers", &REDACTED)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::BatchVerifyRequest;
    use super::super::proto::gateway::envoy::service::auth::v3::attribute_context::Request;
    use super::super::proto::gateway::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    use super::*;

    const SECRET: &str = "css_live_not-to-be-seen";

    fn hides_the_secret(message: &dyn fmt::Debug) {
        for text in [format!("{message:?}"), format!("{message:#?}")] {
            assert!(!text.contains("not-to-be-seen") && text.contains(REDACTED), "{text}");
        }
    }

    fn verify_request(presented: Presented) -> VerifyRequest {
        VerifyRequest { presented: Some(presented), ..VerifyRequest::default() }
    }

    #[test]
    fn no_message_prints_its_secret() {
        let credential = || Credential { key_id: SECRET.to_owned(), secret: SECRET.to_owned() };
        let token = || Presented::Token(format!("csk_live_1.{SECRET}"));
        let created = CreateKeyResponse { secret: SECRET.to_owned(), ..Default::default() };
        let rotated = RotateKeyResponse { secret: SECRET.to_owned(), ..Default::default() };
        let pair = || verify_request(Presented::Credential(credential()));
        let batch = BatchVerifyRequest { requests: vec![pair(), verify_request(token())] };
        hides_the_secret(&credential());
        hides_the_secret(&token());
        hides_the_secret(&created);
        hides_the_secret(&rotated);
        hides_the_secret(&pair());
        hides_the_secret(&verify_request(token()));
        hides_the_secret(&batch);
        let value = HeaderValue { value: SECRET.to_owned(), ..HeaderValue::default() };
        hides_the_secret(&value);
        let http = HttpRequest {
            headers: [("x-secret-key".to_owned(), SECRET.to_owned())].into(),
            path: format!("/?key={SECRET}"),
            ..HttpRequest::default()
        };
        let request = Some(Request { http: Some(http), ..Request::default() });
        let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
        hides_the_secret(&CheckRequest { attributes });
    }
}
