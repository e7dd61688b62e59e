package example.merch.drive;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import example.merch.client.ApiClient;
import example.merch.client.ApiException;
import example.merch.client.ApiResponse;
import example.merch.client.api.DialogApi;
import example.merch.client.api.OrderManagerApi;
import example.merch.client.api.ProductManagerApi;
import example.merch.client.api.UserManagerApi;
import example.merch.client.model.Credentials;

import example.merch.client.model.OrderStatus;
import example.merch.client.model.PasswordChange;
import example.merch.client.model.Purchase;
import example.merch.client.model.Registration;
import example.merch.client.model.UserChange;
import java.net.http.HttpClient;
import java.time.Duration;
import java.util.UUID;

/** Maps each operation of openapi.yaml to the generated method. */
final class Calls {
  private static final Duration TIME_LIMIT = Duration.ofSeconds(30);

  private final ObjectMapper mapper = strict(ApiClient.createDefaultObjectMapper());
  private final DialogApi dialog;
  private final UserManagerApi users;
  private final ProductManagerApi products;
  private final OrderManagerApi orders;
  /** The current call's; null if it has none. */
  private String token;

  /** Calls the store at a URL. */
  Calls(String url) {
    ApiClient client = new ApiClient(HttpClient.newBuilder().proxy(HttpClient.Builder.NO_PROXY), mapper, url);
    client.setConnectTimeout(TIME_LIMIT);
    client.setReadTimeout(TIME_LIMIT);
    client.setRequestInterceptor(
        request -> {
          if (token != null) {
            request.header("Authorization", "Bearer " + token);
          }
        });
    dialog = new DialogApi(client);
    users = new UserManagerApi(client);
    products = new ProductManagerApi(client);
    orders = new OrderManagerApi(client);
  }

  /** Strict, unlike the generator's own mapper. */
  @SuppressWarnings("deprecation") // A mapper that is already built, as the client makes it, has no other way to be told.
  private static ObjectMapper strict(ObjectMapper mapper) {
    mapper.enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);
    mapper.enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    mapper.enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES);
    mapper.enable(DeserializationFeature.FAIL_ON_NUMBERS_FOR_ENUMS);
    mapper.enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    mapper.disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT);
    mapper.disable(MapperFeature.ALLOW_COERCION_OF_SCALARS);
    return mapper;
  }

  /** Passes each argument with its generated type; fails when one is left or does not fit. */
  Answer call(String operation, Arguments given) throws Difference, Fault {
    given.use(mapper);
    token = given.token();
    try {
      return Answer.of(send(operation, given), mapper);
    } catch (ApiException refused) {
      return Answer.of(refused, mapper);
    }
  }

  private ApiResponse<?> send(String operation, Arguments given) throws ApiException, Fault {
    switch (operation) {
      case "greet" -> {
        given.done();
        return dialog.greetWithHttpInfo();
      }
      case "register" -> {
        Registration body =
            new Registration()
                .sid(given.required("body", "sid", String.class))
                .username(given.required("body", "username", String.class))
                .email(given.required("body", "email", String.class))
                .password(given.required("body", "password", String.class));
        given.done();
        return users.registerWithHttpInfo(body);
      }
      case "log_in" -> {
        Credentials body =
            new Credentials()
                .username(given.required("body", "username", String.class))
                .password(given.required("body", "password", String.class));
        given.done();
        return users.logInWithHttpInfo(body);
      }
      case "log_out" -> {
        given.done();
        return users.logOutWithHttpInfo();
      }
      case "get_user" -> {
        UUID id = given.required("path", "user_id", UUID.class);
        String ifNoneMatch = given.optional("header", "If-None-Match", String.class);
        given.done();
        return users.getUserWithHttpInfo(id, ifNoneMatch);
      }
      case "update_user" -> {
        UUID id = given.required("path", "user_id", UUID.class);
        String ifMatch = given.optional("header", "If-Match", String.class);
        UserChange body =
            new UserChange()
                .username(given.optional("body", "username", String.class))
                .email(given.optional("body", "email", String.class));
        given.done();
        return users.updateUserWithHttpInfo(id, body, ifMatch);
      }
      case "deactivate_user" -> {
        UUID id = given.required("path", "user_id", UUID.class);
        given.done();
        return users.deactivateUserWithHttpInfo(id);
      }
      case "change_password" -> {
        UUID id = given.required("path", "user_id", UUID.class);
        PasswordChange body =
            new PasswordChange()
                .currentPassword(given.required("body", "current_password", String.class))
                .newPassword(given.required("body", "new_password", String.class));
        given.done();
        return users.changePasswordWithHttpInfo(id, body);
      }
      case "list_products" -> {
        Integer limit = given.optional("query", "limit", Integer.class);
        String pageToken = given.optional("query", "page_token", String.class);
        String category = given.optional("query", "category", String.class);
        given.done();
        return products.listProductsWithHttpInfo(limit, pageToken, category);
      }
      case "get_product" -> {
        Integer id = given.required("path", "product_id", Integer.class);
        String ifNoneMatch = given.optional("header", "If-None-Match", String.class);
        given.done();
        return products.getProductWithHttpInfo(id, ifNoneMatch);
      }
      case "place_order" -> {
        String key = given.optional("header", "Idempotency-Key", String.class);
        Purchase body =
            new Purchase()
                .productId(given.required("body", "product_id", Integer.class))
                .quantity(given.required("body", "quantity", Integer.class));
        given.done();
        return orders.placeOrderWithHttpInfo(body, key);
      }
      case "list_orders" -> {
        Integer limit = given.optional("query", "limit", Integer.class);
        String pageToken = given.optional("query", "page_token", String.class);
        OrderStatus status = given.optional("query", "status", OrderStatus.class);
        given.done();
        return orders.listOrdersWithHttpInfo(limit, pageToken, status);
      }
      case "get_order" -> {
        UUID id = given.required("path", "order_id", UUID.class);
        String ifNoneMatch = given.optional("header", "If-None-Match", String.class);
        given.done();
        return orders.getOrderWithHttpInfo(id, ifNoneMatch);
      }
      case "cancel_order" -> {
        UUID id = given.required("path", "order_id", UUID.class);
        given.done();
        return orders.cancelOrderWithHttpInfo(id);
      }
      default -> throw new Fault("this driver does not know the operation " + operation);
    }
  }
}
