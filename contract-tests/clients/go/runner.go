package main

// Runs steps: calls, stores, compares.

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Limit of pages in a walk.
const manyPages = 1000

type runner struct {
	caller    caller
	variables variables
}

// take runs one step: it sends, compares the status, stores variables, compares headers and body.
func (r runner) take(step step) error {
	arguments, err := r.arguments(step)
	if err != nil {
		return err
	}
	var came answer
	if step.Walk != nil {
		came, err = r.walk(step, arguments)
	} else {
		came, err = r.send(step, arguments)
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(step.Keep)) {
		value := r.find(came, step.Keep[name])
		if value == nil {
			return &difference{step.Keep[name] + ", to keep it as ", name, "nothing"}
		}
		if err := r.variables.keep(name, value); err != nil {
			return err
		}
	}
	return r.compare(step, came)
}

// find returns the value of a JSON pointer into the body, or of a header.
func (r runner) find(came answer, place string) any {
	if strings.HasPrefix(place, "/") {
		return at(came.body, place)
	}
	return came.header(place)
}

func (r runner) arguments(step step) (*arguments, error) {
	arguments := arguments{places: map[string]map[string]any{}}
	for place, values := range map[string]map[string]any{"path": step.Path, "query": step.Query, "header": step.Header, "body": step.Body} {
		resolved, err := r.variables.resolve(values)
		if err != nil {
			return nil, err
		}
		arguments.places[place], _ = resolved.(map[string]any)
	}
	token, err := r.variables.resolve(step.Token)
	if err != nil {
		return nil, err
	}
	arguments.token, _ = token.(string)
	return &arguments, nil
}

// send calls the operation and compares the status.
func (r runner) send(step step, arguments *arguments) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	came, err := r.caller.call(ctx, step.Operation, arguments)
	if err != nil {
		return came, err
	}
	if came.status != step.Expect.Status {
		said := fmt.Sprint(came.status)
		if came.problem != nil {
			said = fmt.Sprintf("%d (code %s: %s)", came.status, came.problem.Code, came.problem.Detail)
		}
		return came, &difference{"status ", fmt.Sprint(step.Expect.Status), said}
	}
	return came, came.undeclared
}

func (r runner) compare(step step, came answer) error {
	for _, name := range slices.Sorted(maps.Keys(step.Expect.Headers)) {
		expected, err := r.variables.resolve(step.Expect.Headers[name])
		if err != nil {
			return err
		}
		if err := matches("the header "+name, expected, came.header(name)); err != nil {
			return err
		}
	}
	for _, pointer := range slices.Sorted(maps.Keys(step.Expect.Body)) {
		expected, err := r.variables.resolve(step.Expect.Body[pointer])
		if err != nil {
			return err
		}
		if err := matches(pointer, expected, at(came.body, pointer)); err != nil {
			return err
		}
	}
	if step.Expect.Code == "" {
		return nil
	}
	problem := came.problem
	if problem == nil {
		return &difference{"a Problem with the code ", step.Expect.Code, show(came.body)}
	}
	if problem.Code != step.Expect.Code {
		return &difference{"code ", step.Expect.Code, problem.Code}
	}
	if int(problem.Status) != came.status {
		return &difference{"/status ", fmt.Sprint(came.status), fmt.Sprint(problem.Status)}
	}
	if id := came.raw.Get("X-Request-Id"); id == "" || problem.RequestId != id {
		return &difference{"/request_id as in X-Request-Id, ", show(id), show(problem.RequestId)}
	}
	return nil
}

// walk compares the list on one page with the list page by page. It returns the body {"ids": […]}.
func (r runner) walk(step step, given *arguments) (answer, error) {
	query := given.places["query"]
	ask := func(query map[string]any) (answer, []any, any, error) {
		arguments := arguments{token: given.token, places: maps.Clone(given.places)}
		arguments.places["query"] = query
		came, err := r.send(step, &arguments)
		if err != nil {
			return came, nil, nil, err
		}
		items, isList := at(came.body, "/items").([]any)
		if !isList {
			return came, nil, nil, &difference{"", "a page with items", show(came.body)}
		}
		ids := []any{}
		for _, item := range items {
			ids = append(ids, at(item, "/id"))
		}
		return came, ids, at(came.body, "/next_page"), nil
	}
	with := func(query map[string]any, name string, value any) map[string]any {
		query = maps.Clone(query)
		if query == nil {
			query = map[string]any{}
		}
		query[name] = value
		return query
	}

	came, all, next, err := ask(with(query, "limit", step.Walk.Whole))
	if err != nil {
		return came, err
	}
	if next != nil {
		return came, &difference{fmt.Sprintf("all on one page of %d, next_page ", step.Walk.Whole), show(nil), show(next)}
	}
	walked := []any{}
	query = with(query, "limit", step.Walk.Limit)
	for page := 1; ; page++ {
		if page > manyPages {
			return came, &difference{"", "the last page", fmt.Sprintf("a page after %d others", manyPages)}
		}
		var ids []any
		if came, ids, next, err = ask(query); err != nil {
			return came, fmt.Errorf("page %d: %w", page, err)
		}
		if int64(len(ids)) > step.Walk.Limit {
			return came, &difference{fmt.Sprintf("at most %d items on page ", step.Walk.Limit), fmt.Sprint(page), fmt.Sprint(len(ids))}
		}
		walked = append(walked, ids...)
		if next == nil {
			break
		}
		query = map[string]any{"page_token": next, "limit": step.Walk.Limit}
	}
	if err := matches("the ids of all pages", any(all), any(walked)); err != nil {
		return came, err
	}
	for index, id := range walked {
		if slices.Contains(walked[:index], id) {
			return came, &difference{"", "each id once", show(id) + " twice"}
		}
	}
	return answer{status: came.status, raw: http.Header{}, body: map[string]any{"ids": walked}}, nil
}
