"""Every method of AssistantService: what it does, and how it refuses."""

import grpc
from merch.assistant.v1 import assistant_pb2 as proto
from merch.assistant.v1.assistant_pb2_grpc import AssistantServiceStub

from .probe import PATIENCE, Difference, Probe, expect

_HASH = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
_CONTEXT = proto.RequestContext(request_id="grpc-python", trace_id="0af7651916cd43dd8448eb211c80319c")

_INVALID = (grpc.StatusCode.INVALID_ARGUMENT, proto.ERROR_REASON_INVALID_FIELD)
_TAKEN = grpc.StatusCode.ALREADY_EXISTS
_VOID = (grpc.StatusCode.UNAUTHENTICATED, proto.ERROR_REASON_TOKEN_REVOKED)
_NO_USER = (grpc.StatusCode.NOT_FOUND, proto.ERROR_REASON_USER_NOT_FOUND)
_NO_ORDER = (grpc.StatusCode.NOT_FOUND, proto.ERROR_REASON_ORDER_NOT_FOUND)
_NO_PRODUCT = (grpc.StatusCode.NOT_FOUND, proto.ERROR_REASON_PRODUCT_NOT_FOUND)
# Requests without fields cannot be invalid.
_NEVER_REFUSED = {"GetClock"}
_BAD_PAGE = (grpc.StatusCode.INVALID_ARGUMENT, proto.ERROR_REASON_INVALID_PAGE_TOKEN)


def call_all(channel: grpc.Channel, unique: str, sold_out: int) -> None:
    """Calls every method, also so that it has to be refused. Raises a `Difference`."""
    Buyers(channel, unique, sold_out).live()


class Buyers:
    """Two buyers, alice and bob, from registration to the end of alice's account."""

    def __init__(self, channel: grpc.Channel, unique: str, sold_out: int) -> None:
        self._stub = AssistantServiceStub(channel)
        self._probe = Probe()
        self._unique = unique
        self._sold_out = sold_out
        self._alice = proto.User()
        self._bob = proto.User()
        self._caller = proto.Caller()

    def live(self) -> None:
        self._register()
        self._credentials()
        self._password_checks()
        self._read_and_change()
        products = self._catalogue()
        self._orders(products)
        self._end()
        # Fails when the contract has a new method.
        methods = {method.name for method in proto.DESCRIPTOR.services_by_name["AssistantService"].methods}
        expect("methods of AssistantService that succeeded", methods, self._probe.succeeded)
        expect("methods of AssistantService that were refused", methods - _NEVER_REFUSED, self._probe.refused)

    def _new(self, letter: str, **other: str) -> proto.CreateUserRequest:
        request = proto.CreateUserRequest(
            context=_CONTEXT,
            sid=f"{letter}{self._unique}",
            username=f"{letter}-grpc-{self._unique}",
            email=f"{letter}-grpc-{self._unique}@mail.example.com",
            password_hash=_HASH,
        )
        for field, value in other.items():
            setattr(request, field, value)
        return request

    def _register(self) -> None:
        probe, call = self._probe, self._stub.CreateUser
        request = self._new("a")
        self._alice = alice = probe.ok("CreateUser", call, request).user
        caused("user_registered")
        expect("sid", request.sid, alice.sid)
        expect("username", request.username, alice.username)
        expect("email", request.email, alice.email)
        expect("active", True, alice.active)
        expect("version", 1, alice.version)
        expect("created_at and updated_at", alice.created_at.ToJsonString(), alice.updated_at.ToJsonString())
        # Compared without regard to case.
        taken = self._new("b", sid=alice.sid.upper())
        probe.no("CreateUser", call, taken, _TAKEN, proto.ERROR_REASON_SID_TAKEN)
        taken = self._new("b", username=alice.username.upper())
        probe.no("CreateUser", call, taken, _TAKEN, proto.ERROR_REASON_USERNAME_TAKEN)
        taken = self._new("b", email=alice.email.upper())
        probe.no("CreateUser", call, taken, _TAKEN, proto.ERROR_REASON_EMAIL_TAKEN)
        faulty = self._new("b", sid="", username="a b", password_hash="a password")
        probe.no("CreateUser", call, faulty, *_INVALID, ["sid", "username", "password_hash"])
        names = self._new("b")
        free = proto.CheckAvailabilityRequest(sid=names.sid, username=names.username, email=names.email)
        probe.ok("CheckAvailability", self._stub.CheckAvailability, free)
        self._bob = probe.ok("CreateUser", call, names).user
        caused("user_registered")
        taken_email = (_TAKEN, proto.ERROR_REASON_EMAIL_TAKEN)
        mine = proto.CheckAvailabilityRequest(sid="free", username="free", email=alice.email.upper())
        probe.no("CheckAvailability", self._stub.CheckAvailability, mine, *taken_email)

    def _credentials(self) -> None:
        probe, stub, alice = self._probe, self._stub, self._alice
        by_name = proto.GetCredentialsRequest(username=alice.username.upper())
        found = probe.ok("GetCredentials", stub.GetCredentials, by_name)
        expect("user_id", alice.id, found.user_id)
        expect("password_hash", _HASH, found.password_hash)
        self._caller = proto.Caller(user_id=alice.id, token_version=found.token_version)
        by_token = proto.GetCredentialsRequest(caller=self._caller)
        expect("credentials", found, probe.ok("GetCredentials", stub.GetCredentials, by_token))
        unknown = proto.GetCredentialsRequest(username=f"unknown-{self._unique}")
        probe.no("GetCredentials", stub.GetCredentials, unknown, *_NO_USER)
        probe.no("GetCredentials", stub.GetCredentials, proto.GetCredentialsRequest(), *_INVALID, ["by"])
        void = proto.GetCredentialsRequest(caller=self._void())
        probe.no("GetCredentials", stub.GetCredentials, void, *_VOID)

        log_in = proto.RecordLogInRequest(context=_CONTEXT, caller=self._caller)
        probe.ok("RecordLogIn", stub.RecordLogIn, log_in)
        caused("user_logged_in")
        log_in = proto.RecordLogInRequest(context=_CONTEXT, caller=self._void())
        probe.no("RecordLogIn", stub.RecordLogIn, log_in, *_VOID)

    def _password_checks(self) -> None:
        probe, stub, alice = self._probe, self._stub, self._alice
        begin, cancel = stub.BeginPasswordCheck, stub.CancelPasswordCheck
        by_name = proto.BeginPasswordCheckRequest(username=alice.username.upper(), client_network="192.0.2.1")
        check = probe.ok("BeginPasswordCheck", begin, by_name)
        expect("user_id", alice.id, check.credentials.user_id)
        expect("password_hash", _HASH, check.credentials.password_hash)
        expect("token_version", self._caller.token_version, check.credentials.token_version)
        probe.ok("CancelPasswordCheck", cancel, proto.CancelPasswordCheckRequest(reservation=check.reservation))
        unknown = proto.BeginPasswordCheckRequest(username=f"unknown-{self._unique}", client_network="192.0.2.1")
        check = probe.ok("BeginPasswordCheck", begin, unknown)
        expect("credentials of a name without a user are set", False, check.HasField("credentials"))
        void = proto.BeginPasswordCheckRequest(caller=self._void(), client_network="192.0.2.1")
        probe.no("BeginPasswordCheck", begin, void, *_VOID)
        faulty = proto.CancelPasswordCheckRequest(reservation=b"no reservation")
        probe.no("CancelPasswordCheck", cancel, faulty, *_INVALID, ["reservation"])
        probe.ok("GetClock", stub.GetClock, proto.GetClockRequest())

    def _read_and_change(self) -> None:
        probe, stub, alice, bob = self._probe, self._stub, self._alice, self._bob
        get = proto.GetUserRequest(caller=self._caller, user_id=alice.id)
        expect("the user", alice, probe.ok("GetUser", stub.GetUser, get).user)
        get = proto.GetUserRequest(caller=self._caller, user_id=bob.id)
        probe.no("GetUser", stub.GetUser, get, *_NO_USER)
        get = proto.GetUserRequest(user_id="no id")
        probe.no("GetUser", stub.GetUser, get, *_INVALID, ["caller", "user_id"])

        def change(username: str | None = None, email: str | None = None) -> proto.UpdateUserRequest:
            return proto.UpdateUserRequest(
                context=_CONTEXT, caller=self._caller, user_id=alice.id, username=username, email=email
            )

        email = f"al-grpc-{self._unique}@mail.example.com"
        update = change(email=email)
        update.expected_versions.append(alice.version)
        changed = probe.ok("UpdateUser", stub.UpdateUser, update).user
        caused("user_updated")
        # An unset field differs from an empty one.
        expect("username", alice.username, changed.username)
        expect("email", email, changed.email)
        expect("version", alice.version + 1, changed.version)
        update = change(username=f"lost-{self._unique}")
        update.expected_versions.append(alice.version)
        mismatch = (grpc.StatusCode.ABORTED, proto.ERROR_REASON_VERSION_MISMATCH)
        probe.no("UpdateUser", stub.UpdateUser, update, *mismatch)
        taken = change(username=bob.username)
        probe.no("UpdateUser", stub.UpdateUser, taken, _TAKEN, proto.ERROR_REASON_USERNAME_TAKEN)
        probe.no("UpdateUser", stub.UpdateUser, change(username=""), *_INVALID, ["username"])

    def _catalogue(self) -> list[proto.Product]:
        probe, stub = self._probe, self._stub
        whole = probe.ok("ListProducts", stub.ListProducts, proto.ListProductsRequest(page_size=100))
        expect("next_page_token of the page with everything", "", whole.next_page_token)
        products = list(whole.products)
        expect(
            "products in the order of their ids", sorted(product.id for product in products), [p.id for p in products]
        )
        walked: list[proto.Product] = []
        page = proto.ListProductsRequest(page_size=1)
        while len(walked) <= len(products):
            response = stub.ListProducts(page, timeout=PATIENCE)
            walked += response.products
            if not response.next_page_token:
                break
            page = proto.ListProductsRequest(page_size=1, page_token=response.next_page_token)
        expect("products, one a page", products, walked)
        bad = proto.ListProductsRequest(page_size=1, page_token="nonsense")
        probe.no("ListProducts", stub.ListProducts, bad, *_BAD_PAGE)
        probe.no("ListProducts", stub.ListProducts, proto.ListProductsRequest(), *_INVALID, ["page_size"])

        get = proto.GetProductRequest(product_id=products[0].id)
        expect("the product", products[0], probe.ok("GetProduct", stub.GetProduct, get).product)
        get = proto.GetProductRequest(product_id=2**31 - 1)
        probe.no("GetProduct", stub.GetProduct, get, *_NO_PRODUCT)
        return [product for product in products if product.id != self._sold_out]

    def _orders(self, products: list[proto.Product]) -> None:
        probe, stub = self._probe, self._stub
        one, other = products[0], products[1]
        key = f"grpc-{self._unique}"

        def order(product: int, quantity: int, caller: proto.Caller | None = None, key: str = "") -> proto.NewOrder:
            caller = caller or self._caller
            return proto.NewOrder(
                context=_CONTEXT, caller=caller, product_id=product, quantity=quantity, idempotency_key=key
            )

        # Each order succeeds or fails on its own, in the order of the request.
        orders = [
            order(one.id, 3, key=key),
            order(one.id, 3, key=key),
            order(one.id, 2, key=key),
            order(self._sold_out, 1),
            order(2**31 - 1, 1),
            order(one.id, 1, caller=self._void()),
            order(one.id, 4),
            order(other.id, 1),
        ]
        response = probe.ok("PlaceOrders", stub.PlaceOrders, proto.PlaceOrdersRequest(orders=orders))
        caused("order_placed")
        caused("order_placed")
        caused("order_refused")
        reasons = [result.refusal.reason for result in response.results]
        expected = [
            0,
            0,
            proto.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
            proto.ERROR_REASON_OUT_OF_STOCK,
            proto.ERROR_REASON_PRODUCT_NOT_FOUND,
            proto.ERROR_REASON_TOKEN_REVOKED,
            proto.ERROR_REASON_INVALID_FIELD,
            0,
        ]
        expect("reasons of PlaceOrders", expected, reasons)
        outcomes = ["order" if reason == 0 else "refusal" for reason in expected]
        expect("outcomes of PlaceOrders", outcomes, [result.WhichOneof("outcome") for result in response.results])
        first, last = response.results[0].order, response.results[7].order
        expect("the order that was sent again", first, response.results[1].order)
        expect("user_id", self._alice.id, first.user_id)
        expect("unit_price_cents", one.price_cents, first.unit_price_cents)
        expect("total_price_cents", one.price_cents * 3, first.total_price_cents)
        expect("currency", one.currency, first.currency)
        expect("status", proto.ORDER_STATUS_PLACED, first.status)
        expect("cancelled_at is set", False, first.HasField("cancelled_at"))
        probe.no("PlaceOrders", stub.PlaceOrders, proto.PlaceOrdersRequest(), *_INVALID, ["orders"])
        self._stock_of(one, one.stock - 3)

        every = proto.ListOrdersRequest(caller=self._caller, page_size=100)
        whole = probe.ok("ListOrders", stub.ListOrders, every)
        expect("orders, newest first", [last, first], list(whole.orders))
        page = stub.ListOrders(proto.ListOrdersRequest(caller=self._caller, page_size=1), timeout=PATIENCE)
        following = proto.ListOrdersRequest(caller=self._caller, page_size=1, page_token=page.next_page_token)
        rest = stub.ListOrders(following, timeout=PATIENCE)
        expect("orders, one a page", [last, first], [*page.orders, *rest.orders])
        expect("next_page_token of the last page", "", rest.next_page_token)
        bad = proto.ListOrdersRequest(caller=self._caller, page_size=1, page_token="nonsense")
        probe.no("ListOrders", stub.ListOrders, bad, *_BAD_PAGE)
        probe.no("ListOrders", stub.ListOrders, proto.ListOrdersRequest(caller=self._void(), page_size=1), *_VOID)

        get = proto.GetOrderRequest(caller=self._caller, order_id=first.id)
        expect("the order", first, probe.ok("GetOrder", stub.GetOrder, get).order)
        get = proto.GetOrderRequest(caller=self._bobs_caller(), order_id=first.id)
        probe.no("GetOrder", stub.GetOrder, get, *_NO_ORDER)

        cancel = proto.CancelOrderRequest(context=_CONTEXT, caller=self._bobs_caller(), order_id=first.id)
        probe.no("CancelOrder", stub.CancelOrder, cancel, *_NO_ORDER)
        cancel = proto.CancelOrderRequest(context=_CONTEXT, caller=self._caller, order_id=first.id)
        cancelled = probe.ok("CancelOrder", stub.CancelOrder, cancel).order
        caused("order_cancelled")
        expect("status", proto.ORDER_STATUS_CANCELLED, cancelled.status)
        expect("cancelled_at is set", True, cancelled.HasField("cancelled_at"))
        expect("the order that was cancelled again", cancelled, probe.ok("CancelOrder", stub.CancelOrder, cancel).order)
        self._stock_of(one, one.stock)
        filtered = proto.ListOrdersRequest(caller=self._caller, page_size=100, status=proto.ORDER_STATUS_CANCELLED)
        expect("cancelled orders", [cancelled], list(probe.ok("ListOrders", stub.ListOrders, filtered).orders))

    def _end(self) -> None:
        probe, stub, alice, bob = self._probe, self._stub, self._alice, self._bob
        fresh = _HASH.replace("c2Fs", "c2Ft")

        def password(user: proto.User) -> proto.ChangePasswordRequest:
            return proto.ChangePasswordRequest(
                context=_CONTEXT, caller=self._caller, user_id=user.id, password_hash=fresh
            )

        probe.no("ChangePassword", stub.ChangePassword, password(bob), *_NO_USER)
        probe.ok("ChangePassword", stub.ChangePassword, password(alice))
        caused("user_password_changed")
        probe.no("ChangePassword", stub.ChangePassword, password(alice), *_VOID)
        self._log_in_again(fresh)

        revoke = proto.RevokeTokensRequest(context=_CONTEXT, caller=self._caller)
        probe.ok("RevokeTokens", stub.RevokeTokens, revoke)
        caused("user_logged_out")
        probe.no("RevokeTokens", stub.RevokeTokens, revoke, *_VOID)
        self._log_in_again(fresh)

        def deactivate(user: proto.User) -> proto.DeactivateUserRequest:
            return proto.DeactivateUserRequest(context=_CONTEXT, caller=self._caller, user_id=user.id)

        probe.no("DeactivateUser", stub.DeactivateUser, deactivate(bob), *_NO_USER)
        probe.ok("DeactivateUser", stub.DeactivateUser, deactivate(alice))
        caused("user_deactivated")
        gone = proto.GetCredentialsRequest(username=alice.username)
        probe.no("GetCredentials", stub.GetCredentials, gone, *_NO_USER)

    def _log_in_again(self, password_hash: str) -> None:
        by_name = proto.GetCredentialsRequest(username=self._alice.username)
        found = self._probe.ok("GetCredentials", self._stub.GetCredentials, by_name)
        expect("password_hash", password_hash, found.password_hash)
        if found.token_version == self._caller.token_version:
            raise Difference(f"token_version: expected another than {found.token_version}, got the same")
        self._caller = proto.Caller(user_id=self._alice.id, token_version=found.token_version)

    def _stock_of(self, product: proto.Product, stock: int) -> None:
        get = proto.GetProductRequest(product_id=product.id)
        expect("stock", stock, self._probe.ok("GetProduct", self._stub.GetProduct, get).product.stock)

    def _void(self) -> proto.Caller:
        """A token of a version that alice's row does not have."""
        return proto.Caller(user_id=self._alice.id, token_version=self._caller.token_version + 1)

    def _bobs_caller(self) -> proto.Caller:
        by_name = proto.GetCredentialsRequest(username=self._bob.username)
        found = self._probe.ok("GetCredentials", self._stub.GetCredentials, by_name)
        return proto.Caller(user_id=self._bob.id, token_version=found.token_version)


def caused(word: str) -> None:
    """Says that the db service has to have written a log event."""
    print(f"caused {word}", flush=True)
