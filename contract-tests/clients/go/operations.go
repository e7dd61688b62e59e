package main

// Maps each operation of openapi.yaml to the generated method.

import (
	"context"
	"fmt"

	"merch.example/clients/go/merch"
)

// caller sends requests only through the generated client.
type caller struct {
	client *merch.ClientWithResponses
}

// call fails when an argument is left or does not fit. It lists every declared status, so that the
// compiler reports removed ones.
func (c caller) call(ctx context.Context, operation string, a *arguments) (answer, error) {
	switch operation {
	case "greet":
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.GreetWithResponse(ctx, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body, status(200, r.JSON200, nothing))

	case "register":
		body := merch.Registration{
			Sid:      required[merch.Sid](a, "body", "sid"),
			Username: required[merch.Username](a, "body", "username"),
			Email:    required[merch.Email](a, "body", "email"),
			Password: required[string](a, "body", "password"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.RegisterWithResponse(ctx, body, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(201, r.JSON201, r.Headers201),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(409, r.ApplicationproblemJSON409, nothing),
			status(413, r.ApplicationproblemJSON413, nothing),
			status(415, r.ApplicationproblemJSON415, nothing),
			status(422, r.ApplicationproblemJSON422, nothing),
			status(429, r.ApplicationproblemJSON429, r.Headers429),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "log_in":
		body := merch.Credentials{
			Username: required[merch.Username](a, "body", "username"),
			Password: required[string](a, "body", "password"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.LogInWithResponse(ctx, body, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, nothing),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(413, r.ApplicationproblemJSON413, nothing),
			status(415, r.ApplicationproblemJSON415, nothing),
			status(429, r.ApplicationproblemJSON429, r.Headers429),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "log_out":
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.LogOutWithResponse(ctx, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(204, nothing, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "get_user":
		id := required[merch.UserId](a, "path", "user_id")
		params := merch.GetUserParams{IfNoneMatch: optional[merch.IfNoneMatch](a, "header", "If-None-Match")}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.GetUserWithResponse(ctx, id, &params, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, r.Headers200),
			status(304, nothing, r.Headers304),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "update_user":
		id := required[merch.UserId](a, "path", "user_id")
		params := merch.UpdateUserParams{IfMatch: optional[merch.IfMatch](a, "header", "If-Match")}
		body := merch.UserChange{
			Username: optional[merch.Username](a, "body", "username"),
			Email:    optional[merch.Email](a, "body", "email"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.UpdateUserWithResponse(ctx, id, &params, body, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, r.Headers200),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(409, r.ApplicationproblemJSON409, nothing),
			status(412, r.ApplicationproblemJSON412, nothing),
			status(413, r.ApplicationproblemJSON413, nothing),
			status(415, r.ApplicationproblemJSON415, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "deactivate_user":
		id := required[merch.UserId](a, "path", "user_id")
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.DeactivateUserWithResponse(ctx, id, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(204, nothing, nothing),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "change_password":
		id := required[merch.UserId](a, "path", "user_id")
		body := merch.PasswordChange{
			CurrentPassword: required[string](a, "body", "current_password"),
			NewPassword:     required[string](a, "body", "new_password"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.ChangePasswordWithResponse(ctx, id, body, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(204, nothing, nothing),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(403, r.ApplicationproblemJSON403, nothing),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(413, r.ApplicationproblemJSON413, nothing),
			status(415, r.ApplicationproblemJSON415, nothing),
			status(422, r.ApplicationproblemJSON422, nothing),
			status(429, r.ApplicationproblemJSON429, r.Headers429),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "list_products":
		params := merch.ListProductsParams{
			Limit:     optional[merch.Limit](a, "query", "limit"),
			PageToken: optional[merch.PageToken](a, "query", "page_token"),
			Category:  optional[merch.Category](a, "query", "category"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.ListProductsWithResponse(ctx, &params, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, nothing),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "get_product":
		id := required[merch.ProductId](a, "path", "product_id")
		params := merch.GetProductParams{IfNoneMatch: optional[merch.IfNoneMatch](a, "header", "If-None-Match")}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.GetProductWithResponse(ctx, id, &params, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, r.Headers200),
			status(304, nothing, r.Headers304),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "place_order":
		params := merch.PlaceOrderParams{IdempotencyKey: optional[string](a, "header", "Idempotency-Key")}
		body := merch.Purchase{
			ProductId: required[merch.ProductId](a, "body", "product_id"),
			Quantity:  required[int32](a, "body", "quantity"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.PlaceOrderWithResponse(ctx, &params, body, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(201, r.JSON201, r.Headers201),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(409, r.ApplicationproblemJSON409, nothing),
			status(413, r.ApplicationproblemJSON413, nothing),
			status(415, r.ApplicationproblemJSON415, nothing),
			status(422, r.ApplicationproblemJSON422, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "list_orders":
		params := merch.ListOrdersParams{
			Limit:     optional[merch.Limit](a, "query", "limit"),
			PageToken: optional[merch.PageToken](a, "query", "page_token"),
			Status:    optional[merch.OrderStatus](a, "query", "status"),
		}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.ListOrdersWithResponse(ctx, &params, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, nothing),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "get_order":
		id := required[merch.OrderId](a, "path", "order_id")
		params := merch.GetOrderParams{IfNoneMatch: optional[merch.IfNoneMatch](a, "header", "If-None-Match")}
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.GetOrderWithResponse(ctx, id, &params, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, r.Headers200),
			status(304, nothing, r.Headers304),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	case "cancel_order":
		id := required[merch.OrderId](a, "path", "order_id")
		if err := a.all(); err != nil {
			return answer{}, err
		}
		r, err := c.client.CancelOrderWithResponse(ctx, id, a.authorize)
		if err != nil {
			return failed(err)
		}
		return read(r.HTTPResponse, r.Body,
			status(200, r.JSON200, r.Headers200),
			status(400, r.ApplicationproblemJSON400, nothing),
			status(401, r.ApplicationproblemJSON401, r.Headers401),
			status(404, r.ApplicationproblemJSON404, nothing),
			status(500, r.ApplicationproblemJSON500, nothing),
			status(503, r.ApplicationproblemJSON503, r.Headers503))

	default:
		return answer{}, fmt.Errorf("this driver does not know the operation %s", operation)
	}
}

var nothing *none

func failed(err error) (answer, error) {
	return answer{}, &difference{"", "an answer that the client can read", err.Error()}
}
