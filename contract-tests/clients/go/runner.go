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
	var got answer
	if step.Walk != nil {
		got, err = r.walk(step, arguments)
	} else {
		got, err = r.send(step, arguments)
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(step.Keep)) {
		value := r.find(got, step.Keep[name])
		if value == nil {
			return &difference{step.Keep[name] + ", to keep it as ", name, "nothing"}
		}
		if err := r.variables.keep(name, value); err != nil {
			return err
		}
	}
	return r.compare(step, got)
}

// find returns the value of a JSON pointer into the body, or of a header.
func (r runner) find(got answer, place string) any {
	if strings.HasPrefix(place, "/") {
		return at(got.body, place)
	}
	return got.header(place)
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
	got, err := r.caller.call(ctx, step.Operation, arguments)
	if err != nil {
		return got, err
	}
	if got.status != step.Expect.Status {
		said := fmt.Sprint(got.status)
		if got.problem != nil {
			said = fmt.Sprintf("%d (code %s: %s)", got.status, got.problem.Code, got.problem.Detail)
		}
		return got, &difference{"status ", fmt.Sprint(step.Expect.Status), said}
	}
	return got, got.undeclared
}

func (r runner) compare(step step, got answer) error {
	for _, name := range slices.Sorted(maps.Keys(step.Expect.Headers)) {
		expected, err := r.variables.resolve(step.Expect.Headers[name])
		if err != nil {
			return err
		}
		if err := matches("the header "+name, expected, got.header(name)); err != nil {
			return err
		}
	}
	for _, pointer := range slices.Sorted(maps.Keys(step.Expect.Body)) {
		expected, err := r.variables.resolve(step.Expect.Body[pointer])
		if err != nil {
			return err
		}
		if err := matches(pointer, expected, at(got.body, pointer)); err != nil {
			return err
		}
	}
	if step.Expect.Code == "" {
		return nil
	}
	problem := got.problem
	if problem == nil {
		return &difference{"a Problem with the code ", step.Expect.Code, show(got.body)}
	}
	if problem.Code != step.Expect.Code {
		return &difference{"code ", step.Expect.Code, problem.Code}
	}
	if int(problem.Status) != got.status {
		return &difference{"/status ", fmt.Sprint(got.status), fmt.Sprint(problem.Status)}
	}
	if id := got.raw.Get("X-Request-Id"); id == "" || problem.RequestId != id {
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
		got, err := r.send(step, &arguments)
		if err != nil {
			return got, nil, nil, err
		}
		items, isList := at(got.body, "/items").([]any)
		if !isList {
			return got, nil, nil, &difference{"", "a page with items", show(got.body)}
		}
		ids := []any{}
		for _, item := range items {
			ids = append(ids, at(item, "/id"))
		}
		return got, ids, at(got.body, "/next_page"), nil
	}
	with := func(query map[string]any, name string, value any) map[string]any {
		query = maps.Clone(query)
		if query == nil {
			query = map[string]any{}
		}
		query[name] = value
		return query
	}

	got, all, next, err := ask(with(query, "limit", step.Walk.Whole))
	if err != nil {
		return got, err
	}
	if next != nil {
		return got, &difference{fmt.Sprintf("all on one page of %d, next_page ", step.Walk.Whole), show(nil), show(next)}
	}
	walked := []any{}
	query = with(query, "limit", step.Walk.Limit)
	for page := 1; ; page++ {
		if page > manyPages {
			return got, &difference{"", "the last page", fmt.Sprintf("a page after %d others", manyPages)}
		}
		var ids []any
		if got, ids, next, err = ask(query); err != nil {
			return got, fmt.Errorf("page %d: %w", page, err)
		}
		if int64(len(ids)) > step.Walk.Limit {
			return got, &difference{fmt.Sprintf("at most %d items on page ", step.Walk.Limit), fmt.Sprint(page), fmt.Sprint(len(ids))}
		}
		walked = append(walked, ids...)
		if next == nil {
			break
		}
		query = map[string]any{"page_token": next, "limit": step.Walk.Limit}
	}
	if err := matches("the ids of all pages", any(all), any(walked)); err != nil {
		return got, err
	}
	for index, id := range walked {
		if slices.Contains(walked[:index], id) {
			return got, &difference{"", "each id once", show(id) + " twice"}
		}
	}
	return answer{status: got.status, raw: http.Header{}, body: map[string]any{"ids": walked}}, nil
}
