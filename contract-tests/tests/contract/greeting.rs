use merch_test_store::on_both_databases;
use reqwest::Method;

on_both_databases! {
    async fn greeting_links_to_the_documentation(store: &TestStore) {
        let greeting = store.anonymous().greet().send().await.unwrap();
        assert_eq!(greeting.greeting, "Welcome to the SUSTech Merch Store!");
        assert_eq!(greeting.version, "1.0.0");
        let links = &greeting.links;
        for link in [&links.docs, &links.openapi_yaml, &links.openapi_json] {
            store.get(link.as_str()).await.expect(200);
        }
    }

    async fn greeting_works_without_the_database(store: &TestStore) {
        store.stop_db().await;
        store.get("/").await.expect(200);
        store.call(Method::HEAD, "/").await.expect(200);
    }
}
