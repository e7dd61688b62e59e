use merch_chassis::grpc::{Access, Role};

/// Only the api service acts on behalf of users.
const GATEWAY: &[Role] = &[Role::Api];
/// The catalogue is public, and `merch top` displays it.
const CATALOGUE: &[Role] = &[Role::Api, Role::Operator, Role::Db];
/// The operator's commands; a db service's certificate is accepted, too. They also require the
/// admin token.
const OPERATOR: &[Role] = &[Role::Operator, Role::Db];

/// No role may call a method that is missing here.
pub(crate) const ACCESS: Access = &[
    ("/merch.assistant.v1.AssistantService/CreateUser", GATEWAY),
    ("/merch.assistant.v1.AssistantService/CheckAvailability", GATEWAY),
    ("/merch.assistant.v1.AssistantService/BeginPasswordCheck", GATEWAY),
    ("/merch.assistant.v1.AssistantService/CancelPasswordCheck", GATEWAY),
    ("/merch.assistant.v1.AssistantService/GetCredentials", GATEWAY),
    ("/merch.assistant.v1.AssistantService/RecordLogIn", GATEWAY),
    ("/merch.assistant.v1.AssistantService/RevokeTokens", GATEWAY),
    ("/merch.assistant.v1.AssistantService/GetUser", GATEWAY),
    ("/merch.assistant.v1.AssistantService/UpdateUser", GATEWAY),
    ("/merch.assistant.v1.AssistantService/ChangePassword", GATEWAY),
    ("/merch.assistant.v1.AssistantService/DeactivateUser", GATEWAY),
    ("/merch.assistant.v1.AssistantService/ListProducts", CATALOGUE),
    ("/merch.assistant.v1.AssistantService/GetProduct", GATEWAY),
    ("/merch.assistant.v1.AssistantService/PlaceOrders", GATEWAY),
    ("/merch.assistant.v1.AssistantService/ListOrders", GATEWAY),
    ("/merch.assistant.v1.AssistantService/GetOrder", GATEWAY),
    ("/merch.assistant.v1.AssistantService/CancelOrder", GATEWAY),
    ("/merch.assistant.v1.AssistantService/GetClock", GATEWAY),
    ("/merch.admin.v1.AdminService/Restock", OPERATOR),
    ("/merch.admin.v1.AdminService/SetPrice", OPERATOR),
    ("/merch.admin.v1.AdminService/ListUsers", OPERATOR),
    ("/merch.admin.v1.AdminService/DeactivateUser", OPERATOR),
    ("/merch.admin.v1.AdminService/RevokeTokens", OPERATOR),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use merch_contract::grpc::FILE_DESCRIPTOR_SET_WITH_ADMIN;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_has_an_access_rule() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET_WITH_ADMIN).unwrap();
        let mut methods = BTreeSet::new();
        for file in set
            .file
            .iter()
            .filter(|file| ["merch.assistant.v1", "merch.admin.v1"].contains(&file.package()))
        {
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }));
            }
        }
        let listed: BTreeSet<_> = ACCESS.iter().map(|(method, _)| (*method).to_owned()).collect();
        assert_eq!(listed, methods);
        assert_eq!(ACCESS.len(), listed.len(), "a method is listed twice");
    }
}
