package main

// The journey of journey.json and the values in it.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
)

// step is one call of an operation, or a walk over its pages.
type step struct {
	Name      string            `json:"name"`
	Operation string            `json:"operation"`
	Token     any               `json:"token"`
	Path      map[string]any    `json:"path"`
	Query     map[string]any    `json:"query"`
	Header    map[string]any    `json:"header"`
	Body      map[string]any    `json:"body"`
	Walk      *walk             `json:"walk"`
	Expect    expectation       `json:"expect"`
	Keep      map[string]string `json:"keep"`
	Events    []string          `json:"events"`
	NotIn     map[string]string `json:"not_in"`
}

// walk has the expected maximum number of items per page.
type walk struct {
	Limit int64 `json:"limit"`
	Whole int64 `json:"whole"`
}

type expectation struct {
	Status  int            `json:"status"`
	Code    string         `json:"code"`
	Headers map[string]any `json:"headers"`
	Body    map[string]any `json:"body"`
}

// readJourney refuses unknown members: the driver could not compare them.
func readJourney(path string) ([]step, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read the journey: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	var journey struct {
		About string `json:"about"`
		Steps []step `json:"steps"`
	}
	if err := decoder.Decode(&journey); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(journey.Steps) == 0 {
		return nil, fmt.Errorf("%s has no steps", path)
	}
	return journey.Steps, nil
}

// variables are values from the environment and from earlier steps.
type variables map[string]any

// keep sets a variable, once.
func (v variables) keep(name string, value any) error {
	if _, there := v[name]; there {
		return fmt.Errorf("the variable %s is set twice", name)
	}
	v[name] = value
	return nil
}

var (
	whole = regexp.MustCompile(`^\$\{(\w+)\}$`)
	part  = regexp.MustCompile(`\$\{(\w+)\}`)
)

// resolve substitutes variables and computes sums. Integers become int64; `$type` is left for
// `matches`.
func (v variables) resolve(value any) (any, error) {
	switch value := value.(type) {
	case string:
		if name := whole.FindStringSubmatch(value); name != nil {
			return v.value(name[1])
		}
		var failed error
		text := part.ReplaceAllStringFunc(value, func(found string) string {
			known, err := v.value(part.FindStringSubmatch(found)[1])
			if err != nil {
				failed = err
			}
			return fmt.Sprint(known)
		})
		return text, failed
	case json.Number:
		return value.Int64()
	case []any:
		list := make([]any, len(value))
		for index, item := range value {
			var err error
			if list[index], err = v.resolve(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		return v.resolveMembers(value)
	default: // a truth value or null
		return value, nil
	}
}

func (v variables) value(name string) (any, error) {
	value, there := v[name]
	if !there {
		return nil, fmt.Errorf("the variable %s is not set", name)
	}
	return value, nil
}

func (v variables) resolveMembers(value map[string]any) (any, error) {
	for name, count := range map[string]func(a, b int64) int64{
		"$sum":     func(a, b int64) int64 { return a + b },
		"$product": func(a, b int64) int64 { return a * b },
	} {
		operands, there := value[name]
		if !there {
			continue
		}
		resolved, err := v.resolve(operands)
		if err != nil {
			return nil, err
		}
		pair, isList := resolved.([]any)
		if !isList || len(pair) != 2 || len(value) != 1 {
			return nil, fmt.Errorf("expected {%q: [a, b]}, got %s", name, show(value))
		}
		first, isFirst := pair[0].(int64)
		second, isSecond := pair[1].(int64)
		if !isFirst || !isSecond {
			return nil, fmt.Errorf("expected %s of two whole numbers, got %s", name, show(pair))
		}
		return count(first, second), nil
	}
	members := maps.Clone(value)
	for name, member := range value {
		var err error
		if members[name], err = v.resolve(member); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// plain converts client values to JSON values. Integers become int64.
func plain(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("expected one JSON value, got more")
	}
	return integers(value)
}

// integers converts every number to int64. Fractions are errors.
func integers(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case json.Number:
		return value.Int64()
	case []any:
		for index := range value {
			if value[index], err = integers(value[index]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range value {
			if value[name], err = integers(value[name]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// show formats a value for people.
func show(value any) string {
	if value == nil {
		return "nothing"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
