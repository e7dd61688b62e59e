package main

// One stream of requests and cumulative acknowledgements.

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	loggingv1 "merch.example/clients/grpc-go/gen/merch/logging/v1"
)

// Maximum of unacknowledged requests.
const window = 8

// stream sends all requests, closes its side and returns the last acknowledgement.
func stream(client loggingv1.LoggingServiceClient, requests []*loggingv1.StreamLogsRequest) (uint64, error) {
	ctx, cancel := within()
	defer cancel()
	stream, err := client.StreamLogs(ctx)
	if err != nil {
		return 0, &difference{"a stream", err.Error()}
	}
	// Counted before sending: the acknowledgement may arrive before Send returns.
	var sent atomic.Uint64
	room := make(chan struct{}, window)
	sending := make(chan error, 1)
	go func() { sending <- send(stream, requests, room, &sent) }()

	var last uint64
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return last, &difference{fmt.Sprintf("the acknowledgement of %d", len(requests)), fmt.Sprintf("%v, after that of %d", err, last)}
		}
		acknowledged := response.GetAcknowledgedSequence()
		if acknowledged < last {
			return last, &difference{fmt.Sprintf("an acknowledgement of %d or more", last), fmt.Sprint(acknowledged)}
		}
		if known := sent.Load(); acknowledged > known {
			return last, &difference{fmt.Sprintf("no acknowledgement beyond %d, the last that was sent", known), fmt.Sprint(acknowledged)}
		}
		for ; last < acknowledged; last++ {
			<-room
		}
	}
	// The server ends the stream only after the client has closed its side.
	if last != uint64(len(requests)) {
		return last, &difference{fmt.Sprintf("the acknowledgement of all %d requests", len(requests)), fmt.Sprintf("the end of the stream after %d", last)}
	}
	return last, <-sending
}

// send waits for the window before each request and closes its side after the last.
func send(stream loggingv1.LoggingService_StreamLogsClient, requests []*loggingv1.StreamLogsRequest, room chan<- struct{}, sent *atomic.Uint64) error {
	for _, request := range requests {
		select {
		case room <- struct{}{}:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		sent.Store(request.GetSequence())
		if err := stream.Send(request); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}
