package main

// Compares expected and received values.

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// difference is a mismatch between expected and received values. All other errors are faults of the
// journey or the environment.
type difference struct {
	what, expected, got string
}

func (d *difference) Error() string {
	return fmt.Sprintf("expected %s%s, got %s", d.what, d.expected, d.got)
}

// at follows a JSON pointer. Absent values and null are nil.
func at(value any, pointer string) any {
	if pointer == "" {
		return value
	}
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch container := value.(type) {
		case map[string]any:
			value = container[token]
		case []any:
			index, err := strconv.Atoi(token)
			if err != nil || index < 0 || index >= len(container) {
				return nil
			}
			value = container[index]
		default:
			return nil
		}
	}
	return value
}

// matches compares a value with the journey's expectation, which may have the form {"$type": …}.
func matches(what string, expected, got any) error {
	if members, isObject := expected.(map[string]any); isObject {
		if kind, there := members["$type"]; there {
			return hasType(what, kind, got)
		}
	}
	if !reflect.DeepEqual(expected, got) {
		return &difference{what + " ", show(expected), show(got)}
	}
	return nil
}

func hasType(what string, kind, got any) error {
	fits := false
	switch kind {
	case "string":
		text, isText := got.(string)
		fits = isText && text != ""
	case "integer":
		_, fits = got.(int64)
	default:
		return fmt.Errorf("expected the $type string or integer in the journey, got %s", show(kind))
	}
	if !fits {
		return &difference{what + " to be of type ", fmt.Sprint(kind), show(got)}
	}
	return nil
}

// keeps reports where the client's parsed body differs from the sent one. Equal times in different
// spellings are equal.
func keeps(pointer string, sent, read any) error {
	if sent == nil && read == nil {
		return nil
	}
	switch sent := sent.(type) {
	case map[string]any:
		if read, isObject := read.(map[string]any); isObject {
			names := slices.Sorted(maps.Keys(sent))
			for name := range read {
				if _, there := sent[name]; !there {
					names = append(names, name)
				}
			}
			for _, name := range names {
				if err := keeps(pointer+"/"+name, sent[name], read[name]); err != nil {
					return err
				}
			}
			return nil
		}
	case []any:
		if read, isList := read.([]any); isList && len(read) == len(sent) {
			for index := range sent {
				if err := keeps(fmt.Sprintf("%s/%d", pointer, index), sent[index], read[index]); err != nil {
					return err
				}
			}
			return nil
		}
	case string:
		if read, isText := read.(string); isText && (sent == read || sameMoment(sent, read)) {
			return nil
		}
	default:
		if sent == read {
			return nil
		}
	}
	return &difference{"the client to read " + pointer + " as ", show(sent), show(read)}
}

func sameMoment(one, other string) bool {
	first, firstFailed := time.Parse(time.RFC3339Nano, one)
	second, secondFailed := time.Parse(time.RFC3339Nano, other)
	return firstFailed == nil && secondFailed == nil && first.Equal(second)
}
