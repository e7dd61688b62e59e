package main

// Converts a step's arguments to the generated types, and the generated types to an answer.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"merch.example/clients/go/merch"
)

// arguments are the arguments of one call, by place and name. Each is taken once; a leftover is an
// error.
type arguments struct {
	token  string
	places map[string]map[string]any
	faults []error
}

// required takes a mandatory argument.
func required[T any](a *arguments, place, name string) T {
	value := optional[T](a, place, name)
	if value == nil {
		a.faults = append(a.faults, fmt.Errorf("the step does not say %s %s", place, name))
		return *new(T)
	}
	return *value
}

// optional takes an argument, or nil.
func optional[T any](a *arguments, place, name string) *T {
	given, there := a.places[place][name]
	if !there {
		return nil
	}
	a.places[place] = maps.Clone(a.places[place])
	delete(a.places[place], name)
	text, err := json.Marshal(given)
	value := new(T)
	if err == nil {
		err = json.Unmarshal(text, value)
	}
	if err != nil {
		a.faults = append(a.faults, fmt.Errorf("%s %s: the client has no way to send %s: %w", place, name, show(given), err))
	}
	return value
}

// all reports arguments that were not taken or do not fit.
func (a *arguments) all() error {
	faults := a.faults
	for place, left := range a.places {
		for name := range left {
			faults = append(faults, fmt.Errorf("%s %s: this driver does not hand it over", place, name))
		}
	}
	return errors.Join(faults...)
}

// authorize adds the step's token, if it has one.
func (a *arguments) authorize(_ context.Context, request *http.Request) error {
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	return nil
}

// answer is a response as the client parsed it.
type answer struct {
	status int
	// The typed body as JSON values; nil if there is none.
	body any
	// The typed headers as JSON values, by member name.
	typed map[string]any
	// All headers. Some, such as X-Request-Id, are declared on no operation.
	raw     http.Header
	problem *merch.Problem
	// Set if the client has no type for the response.
	undeclared error
}

// header returns the typed value of a header, else the raw one; nil if it is absent.
func (a answer) header(name string) any {
	member := strings.ToLower(strings.ReplaceAll(name, "-", ""))
	for typed, value := range a.typed {
		if strings.ToLower(typed) == member {
			return value
		}
	}
	if got := a.raw.Get(name); got != "" {
		return got
	}
	return nil
}

// declared is what the client has for one status of an operation.
type declared struct {
	status              int
	body, headers       any
	hasBody, hasHeaders bool
}

// none stands for a body or headers that are not declared.
type none struct{}

// status pairs a status with its client members; *none where it has none.
func status[B, H any](code int, body *B, headers *H) declared {
	found := declared{status: code}
	if _, isNone := any(body).(*none); !isNone {
		found.hasBody = true
		if body != nil {
			found.body = body
		}
	}
	if _, isNone := any(headers).(*none); !isNone {
		found.hasHeaders = true
		if headers != nil {
			found.headers = headers
		}
	}
	return found
}

// read picks the member of `all` whose status matches the response.
func read(response *http.Response, body []byte, all ...declared) (answer, error) {
	got := answer{status: response.StatusCode, raw: response.Header}
	index := slices.IndexFunc(all, func(one declared) bool { return one.status == got.status })
	if index < 0 {
		got.undeclared = &difference{"", "a status that the client knows for this operation", fmt.Sprint(got.status)}
		return got, nil
	}
	found := all[index]
	if found.hasBody == (found.body == nil) {
		got.undeclared = &difference{"", "a body of the declared type", fmt.Sprintf("Content-Type %q: %s", response.Header.Get("Content-Type"), body)}
		return got, nil
	}
	got.problem, _ = found.body.(*merch.Problem)
	var err error
	if found.hasBody {
		if got.body, err = plain(found.body); err != nil {
			return got, err
		}
		sent, err := parse(body)
		if err != nil {
			return got, &difference{"the body to be ", "JSON", err.Error()}
		}
		if got.undeclared = keeps("", sent, got.body); got.undeclared != nil {
			return got, nil
		}
	} else if len(bytes.TrimSpace(body)) > 0 {
		got.undeclared = &difference{"", "no body", string(body)}
		return got, nil
	}
	return readHeaders(got, found)
}

func readHeaders(got answer, found declared) (answer, error) {
	if !found.hasHeaders {
		return got, nil
	}
	members, err := plain(found.headers)
	if err != nil {
		return got, err
	}
	got.typed, _ = members.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(got.typed)) {
		// The client leaves the zero value for a missing required header.
		if value := got.typed[name]; value == "" || value == int64(0) {
			got.undeclared = &difference{"the declared header ", name, "none"}
		}
	}
	return got, nil
}
