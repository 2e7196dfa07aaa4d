// What tests/kits/test_followers.py asks of the kit: logs from files, look-ups in bulk, and a log on Kafka.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"streamscrub"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	switch os.Args[1] {
	case "replay":
		for _, path := range os.Args[2:] {
			replay, fault := replayed(path)
			show(replay, fault)
		}
	case "look-up":
		lookUp(os.Args[2], os.Args[3], os.Args[4:])
	case "dial":
		dial(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7])
	case "check":
		check()
	case "follow":
		follow(os.Args[2], os.Args[3], os.Args[4:])
	}
}

func need(err error) {
	if err != nil {
		panic(err)
	}
}

func replayed(path string) (*streamscrub.Replay, error) {
	file, err := os.Open(path)
	need(err)
	defer file.Close()
	replay := streamscrub.NewReplay()
	for lines := json.NewDecoder(file); lines.More(); {
		var line struct {
			Offset     int64
			Key, Value []byte
			Headers    [][]any
		}
		need(lines.Decode(&line))
		record := streamscrub.Record{Offset: line.Offset, Key: line.Key, Value: line.Value}
		for _, each := range line.Headers {
			record.Headers = append(record.Headers, streamscrub.Header{Name: each[0].(string), Value: []byte(each[1].(string))})
		}
		if err := replay.Take(record); err != nil {
			return replay, err
		}
	}
	return replay, nil
}

func show(replay *streamscrub.Replay, fault error) {
	shown := map[string]any{
		"position": replay.Position(), "log_chain": replay.LogChain(), "digest": replay.Digest(), "corrupt": nil,
	}
	var corrupt *streamscrub.Corrupt
	if errors.As(fault, &corrupt) {
		shown["corrupt"] = corrupt.Offset
	}
	registers := map[string][]any{}
	for name, each := range replay.Registers() {
		registers[name] = []any{each.Seq, each.Chain, each.Count}
	}
	shown["registers"] = registers
	line, err := json.Marshal(shown)
	need(err)
	fmt.Println(string(line))
}

func lookUp(log, numbers string, registers []string) {
	replay, err := replayed(log)
	need(err)
	asked, err := os.ReadFile(numbers)
	need(err)
	out := bufio.NewWriter(os.Stdout)
	for ; len(asked) > 0; asked = asked[8:] {
		holding, err := replay.Holding(binary.LittleEndian.Uint64(asked), registers...)
		if err != nil {
			holding = []string{"error"}
		}
		fmt.Fprintln(out, strings.Join(holding, " "))
	}
	need(out.Flush())
}

func dial(bootstrap, allowed, recalled, group, recall, start string) {
	leads, err := streamscrub.NewAllowed(streamscrub.Dialler{
		Group: group, Options: []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.SessionTimeout(6 * time.Second)},
		Topics: []string{allowed}, Recalled: recalled, Recall: recall, Start: start, LagMax: 5 * time.Second,
	})
	need(err)
	given := map[string]streamscrub.Lead{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch command, name, _ := strings.Cut(lines.Text(), " "); command {
		case "next":
			lead, err := leads.Next(context.Background())
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			name = fmt.Sprintf("%d/%d", lead.Partition, lead.Offset)
			given["before "+name] = given[name]
			given[name] = lead
			fmt.Println(name, strings.Join(lead.Numbers, " "))
		case "ack":
			leads.Ack(given[name])
			fmt.Println("ok")
		case "may":
			may, err := leads.MayDial(given[name])
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			fmt.Println(may)
		case "trouble":
			fmt.Println(leads.Trouble())
		case "skipped":
			line, err := json.Marshal(leads.Skipped())
			need(err)
			fmt.Println(string(line))
		case "close":
			leads.Close()
			fmt.Println("ok")
		}
	}
}

func check() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var line struct {
			URL, Token string
			Deadline   float64
			Numbers    []string
		}
		need(json.Unmarshal(lines.Bytes(), &line))
		deadline := time.Duration(line.Deadline * float64(time.Second))
		client := streamscrub.NewCheckClient(line.URL, line.Token, deadline, nil)
		stamp, err := client.Check(context.Background(), line.Numbers, map[string]any{"purpose": "insurance"})
		var unknown *streamscrub.Unknown
		if errors.As(err, &unknown) {
			fmt.Println("unknown", unknown.Status, err)
			continue
		}
		need(err)
		fmt.Println(stamp.Allowed, stamp.Reason, strings.Join(stamp.Numbers, ","))
	}
}

func follow(bootstrap, topic string, registers []string) {
	follower, err := streamscrub.Follow(topic, kgo.SeedBrokers(bootstrap))
	need(err)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "state" {
			if err := follower.Usable(); err != nil {
				fmt.Println("error", err)
				continue
			}
			show(follower.Replay(), nil)
			continue
		}
		number, err := strconv.ParseUint(lines.Text(), 10, 64)
		need(err)
		holding, position, err := follower.Holding(number, registers...)
		if err != nil {
			fmt.Println("error", err)
			continue
		}
		fmt.Println(position, strings.Join(holding, " "))
	}
}
