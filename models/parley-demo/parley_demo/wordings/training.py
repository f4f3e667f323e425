"""The wordings of training: patterns per kind, expanded by `grammar.expand` (gaps in braces are arguments)."""

from parley_demo.dialogue import Phrasebook

RULES: dict[str, tuple[str, ...]] = {
    "person": ("boss", "teacher", "brother", "mother", "friend", "neighbour", "son", "colleague", "customer", "aunt"),
    "hey": ("", "", "", "", "hi,", "hey,", "hello,", "ok,", "so,", "well,", "now,", "quick question:", "next:", "sorry,"),
    "ask": (
        "", "", "", "please", "please", "can you", "could you", "would you", "will you", "can you please", "kindly",
        "I want you to", "I need you to", "I'd like you to", "you should", "be so kind to", "go and", "let's", "try to",
        "do you know how to", "is it possible to", "help me", "my <person> asked me to", "I must", "I have to", "just",
        "are you able to", "it is time to", "I was told to", "we need to", "time permitting,", "once more,", "first",
    ),
    "tail": (
        "", "", "", "", "please", "for me", "for us", "now", "right now", "quickly", "thanks", "if you can", "today",
        "for my <person>", "when you can", "and tell me", "will you", "exactly", "if you please", "my friend", "okay",
        "in a hurry", "for my homework", "for a report", "I am curious", "I forgot", "I cannot recall", "it matters",
    ),
    "end": ("", ".", "?", "?", "!", ".", "?"),
    "why": (
        "", "", "", "", "", "", "I am at work.", "We are cooking.", "My <person> wants this.", "I am in a hurry.",
        "This is for school.", "I have a problem.", "There is a question.", "Listen.", "Let us begin.", "Good morning.",
        "I am writing a report.", "I lost my glasses.", "We have a bet.", "It is urgent.", "Something else:",
    ),
    "know": (
        "what is", "what's", "whats", "what is", "what does it make:", "tell me", "give me", "I want to know",
        "do you know", "can you tell me", "could you tell me", "please tell me", "I wonder about", "we need", "I need",
        "I'd like to know", "show me", "find me", "let me know", "find out", "what would be", "what about", "name",
        "remind me of", "I am looking for", "get me", "I want", "who knows", "please find", "let me see", "have you got",
    ),
    "number_verb": (
        "compute", "calculate", "evaluate", "solve", "work out", "do", "figure out", "determine", "find", "do the sum",
        "count up", "reckon", "get", "check", "run", "resolve", "crunch", "process", "do the math for", "estimate",
    ),
    "value": ("", "", "", "the value of", "the result of", "the answer to", "the outcome of", "this sum:", "the sum", "this:"),
    "numbers": (
        "", "", "", "the numbers", "these numbers:", "the values", "these values:", "this list:", "the list", "my numbers",
        "the following:", "the data", "this data:", "the set", "the scores", "my scores", "the marks", "the prices",
        "the ages", "the results", "these:", "the series", "the temperatures", "our sales", "the measurements",
    ),
    "read_verb": (
        "read", "open", "show", "show me", "print", "display", "cat", "view", "load", "fetch", "look at", "look into",
        "give me", "get", "read me", "read out", "read aloud", "see", "bring up", "pull up", "output", "inspect", "check",
        "tell me about", "quote", "recite", "have a look at", "take a look at", "let me see", "I want to see", "dump",
    ),
    "file": (
        "", "", "", "the file", "file", "the document", "my file", "a file called", "the file named", "this file:",
        "our file", "the text file", "the text of", "the contents of", "the content of", "what is in", "the text in",
        "what's inside", "the words in", "the lines of", "everything in", "the whole of", "the file called", "my document",
    ),
    "list_verb": (
        "list", "show", "show me", "display", "print", "give me", "see", "enumerate", "name", "tell me", "find", "get",
        "browse", "look up", "check", "let me see", "I want to see", "ls", "view", "describe", "explore", "output",
    ),
    "things": (
        "the files", "all files", "files", "the contents", "the entries", "everything", "what is", "the documents",
        "all the files", "the names of the files", "all documents", "every file", "the items", "what files are",
        "which files are", "a listing of the files", "the file names", "whatever is", "all entries", "the stuff",
    ),
    "folder": ("", "", "the folder", "folder", "the directory", "directory", "my folder", "dir", "the folder called", "the folder named", "our folder"),
    "in": ("in", "in", "inside", "within", "of", "under", "from", "stored in", "kept in", "there in", "that are in"),
    "workspace": (
        "the workspace", "the workspace", "my workspace", "this workspace", "the main folder", "here", "the current folder",
        "the current directory", "the root folder", "the top folder", "this folder", "the working directory", "our workspace",
    ),
    "time_thing": (
        "the time", "the time", "the current time", "the local time", "the exact time", "the time of day", "the date",
        "the hour", "the clock", "today's date", "the day", "the weekday", "the day of the week", "the date and time",
        "the date today", "the current date", "the time and date", "the time now", "the local date", "the present time",
    ),
    "time_is": (
        "what time is it", "what time is it", "what's the time", "what is the time", "what time it is", "what day is it",
        "what date is it", "what's the date", "what is today's date", "which day is it", "what hour is it", "how late is it",
        "what is the current time", "what's the local time", "what time do they have", "what does the clock say",
        "what does the clock show", "which weekday is it", "what day of the week is it", "is it late", "is it morning",
        "is it night", "is it Monday", "is it already noon", "what time have we", "what is the hour", "the time",
        "what date do we have", "got the time", "do you have the time", "time", "current time", "date", "clock", "today's date",
        "what time would it be", "is it still early", "is it past midnight", "what is the date", "local time", "time check",
    ),
    "at": ("in", "in", "in", "in", "at", "for", "over in", "there in", "right now in", "now in", "of", "around", "currently in"),
    "topic": (
        "weather", "capital", "president", "king", "population", "history", "mayor", "language", "food", "best hotel",
        "airport", "currency", "price", "meaning", "colour", "size", "height", "name", "football team", "news", "river",
        "flag", "culture", "music", "climate", "map", "road", "train", "phone number", "temperature", "distance", "author",
        "inventor", "origin", "religion", "economy", "bus", "mountain", "museum", "restaurant", "beach", "doctor", "rain",
        "wind", "tax", "law", "winner", "song", "film", "book", "painting", "owner", "address", "age", "weight", "speed",
    ),
    "make": (
        "write", "compose", "draw", "make", "invent", "create", "tell", "sing", "cook", "book", "buy", "order", "send",
        "translate", "explain", "describe", "define", "teach", "design", "paint", "play", "build", "repair", "recommend",
        "suggest", "sell", "plan", "bake", "guess", "predict", "record", "discuss", "summarise", "review", "search for",
    ),
    "creation": (
        "a poem", "a joke", "a song", "a story", "a picture", "a letter", "an essay", "a cake", "a flight", "a ticket",
        "an email", "a novel", "a recipe", "a game", "a website", "a program", "a hotel", "a pizza", "a speech", "a logo",
        "a taxi", "a riddle", "a dream", "a limerick", "a table for two", "a present", "a tune", "a dance", "a plan",
    ),
    "subject": (
        "love", "cats", "the moon", "winter", "dogs", "the sea", "{word}", "{word}", "{city}", "{name}", "{word} and {word2}",
        "physics", "football", "chemistry", "cars", "politics", "the war", "my garden", "gravity", "the Romans", "computers",
    ),
    "wh": ("who", "why", "how", "when", "where", "which", "what", "whose"),
    "did": ("is", "was", "did", "does", "are", "will", "can", "should", "would", "has", "were", "could"),
    "verb": (
        "win", "live", "die", "invent", "write", "become", "paint", "love", "rule", "cost", "grow", "work", "taste", "sleep",
        "eat", "build", "sing", "discover", "play", "own", "marry", "found", "fly", "travel", "cook", "sell", "hate", "start",
    ),
}  # fmt: skip

PATTERNS: dict[str, tuple[str, ...]] = {
    "typed_sum": (
        "{sum}<end>", "{sum}<end>", "what is {sum}?", "what is {sum}?", "{sum} = ?", "{sum} equals", "how much is {sum}<end>",
        "<why> <hey> <know> <value> {sum} <tail><end>", "<why> <hey> <ask> <number_verb> <value> {sum} <tail><end>",
        "<why> <hey> <ask> <number_verb> {sum} <tail><end>", "{sum} <tail><end>", "{sum}: <know> (it|that|the result)<end>",
        "<hey> how (much|many) (is|are|makes|would be) {sum} <tail><end>", "<why> {sum} is (what|how much)<end>",
        "<hey> what do (you|we|I) get (for|from|with|out of|if I do|when I type) {sum} <tail><end>", "{sum} (makes|gives|is)<end>",
        "(I need|we want|my <person> wants) <value> {sum} <tail><end>", "<word_salad> {sum} <tail><end>", "<word_salad> {sum}",
    ),
    "spoken_sum": (
        "what is {sum}?", "{sum}<end>", "how much is {sum}<end>", "<why> <hey> <know> <value> {sum} <tail><end>",
        "<why> <hey> <ask> <number_verb> <value> {sum} <tail><end>", "{sum} <tail><end>", "<word_salad> {sum} <tail><end>",
        "what does {sum} (give|make|equal|come to|yield)<end>", "{sum} is (what|how much)<end>", "what do you get for {sum}<end>",
    ),
    "add": (
        "<why> <hey> <ask> add {a} (and|to|with) {b} <tail><end>", "<hey> <know> (the sum|the total) of {a} and {b} <tail><end>",
        "<hey> <ask> (sum|total) {a} and {b} <tail><end>", "(if I have|I have|suppose you have) {a} and (get|add|find) {b} (more|), how many (is that|are there|do I have)<end>",
        "{a} and {b} (together|added|added up|in total), (how much|what) is (that|it)<end>", "<ask> put {a} and {b} together <tail><end>",
        "<know> {a} (added to|increased by|and then add) {b} <tail><end>", "what (is|do I get with) {a} (more than|added to) {b}<end>",
    ),
    "subtract": (
        "<why> <hey> <ask> (subtract|take|take away|deduct|remove) {a} from {b} <tail><end>",
        "<know> (the difference|the difference between) {b} and {a} <tail><end>", "what (is left|remains) if I take {a} from {b}<end>",
        "<know> {b} (less|reduced by|without|lowered by|decreased by) {a} <tail><end>", "what is {a} (less|fewer) than {b}<end>",
        "(I have|we have|suppose I have) {b} and (give away|lose|spend|pay) {a}, (how many|how much|what) (is left|are left|remains)<end>",
    ),
    "multiply": (
        "<why> <hey> <ask> multiply {a} (by|with|and) {b} <tail><end>", "<know> the product of {a} and {b} <tail><end>",
        "<know> {a} (multiplied by|multiplied with) {b} <tail><end>", "<know> {a} (lots|groups|boxes|bags|packs|sets) of {b} <tail><end>",
        "(there are|I have|we buy) {a} (boxes|bags|rows|packs|shelves) (with|of) {b} (each|things each|in each), how many (is that|in total|altogether)<end>",
    ),
    "divide": (
        "<why> <hey> <ask> (divide|split|share) {a} (by|among|between|into|over) {b} <tail><end>", "<know> {a} (over|split by|shared by|shared among|split into) {b} <tail><end>",
        "<know> the (quotient|ratio) of {a} and {b} <tail><end>", "{a} (apples|coins|euros|sweets|cards) (for|shared by|split among|between) {b} (people|children|friends), how (many|much) each<end>",
    ),
    "percent": (
        "<why> <hey> <know> {a}% of {b} <tail><end>", "<hey> <know> {a} percent of {b} <tail><end>", "{a}% of {b}<end>", "{a} percent of {b} <tail><end>",
        "<ask> <number_verb> {a} (percent|%|per cent) of {b} <tail><end>", "how much is {a} (percent|per cent|%) of {b}<end>", "<ask> take {a}% of {b} <tail><end>",
    ),
    "remainder": (
        "<why> <hey> <know> the remainder (of|when dividing|for) {a} (divided by|by|over) {b} <tail><end>", "<know> {a} (mod|modulo) {b} <tail><end>",
        "what (remains|is left over) when (dividing|I divide|you divide) {a} by {b}<end>", "the rest of {a} divided by {b}<end>", "{a} mod {b} <tail><end>",
    ),
    "power": (
        "<why> <hey> <know> {a} (to the power of|to the power|raised to|raised to the power of|to the) {b} <tail><end>",
        "<ask> (raise|bring|lift) {a} to (the power of|power|the power) {b} <tail><end>", "{a} to the power of {b} <tail><end>", "<ask> <number_verb> {a} (to the power of|power) {b} <tail><end>",
    ),
    "squared": ("<hey> <know> {a} squared <tail><end>", "<ask> square {a} <tail><end>", "<know> the square of {a} <tail><end>", "{a} squared<end>", "<ask> <number_verb> {a} squared <tail><end>"),
    "half": ("<hey> <know> half of {a} <tail><end>", "<ask> halve {a} <tail><end>", "half of {a}<end>", "<ask> <number_verb> (half of|one half of) {a} <tail><end>", "how much is half of {a}<end>"),
    "root": (
        "<why> <hey> <know> the (square root|root|square root) of {a} <tail><end>", "square root of {a}<end>", "sqrt {a}", "sqrt({a}) <end>",
        "<ask> <number_verb> the (square root|root) of {a} <tail><end>", "<ask> take the (root|square root) of {a} <tail><end>", "how big is the square root of {a}<end>",
    ),
    "figures": (
        "what is the {op} of {data}?", "<why> <hey> <know> the {op} of <numbers> {data} <tail><end>", "<hey> <know> (their|the) {op}: {data}<end>", "{op} of {data}",
        "<why> <hey> <ask> <number_verb> the {op} (of|for|from|over|across|in) <numbers> {data} <tail><end>", "(for|given|with|from|take|here are|I have|we have|using|in) <numbers> {data}, <know> the {op} <tail><end>",
        "<hey> <know> the {op} and (the|) {op2} of <numbers> {data} <tail><end>", "<ask> <number_verb> the {op} and the {op2} (of|for|from|in) <numbers> {data} <tail><end>",
        "(for|given|with|here are|I have) <numbers> {data}<end> <know> the {op} and the {op2} <tail><end>", "{op} and {op2} (of|for|:) <numbers> {data}<end>",
        "<numbers> {data}: (the|) {op} (please|?|)", "{op} (of|for|:) <numbers> {data} <tail><end>", "{data}, {op}<end>", "<word_salad> the {op} of {data} <tail><end>", "what {op} (do|does) <numbers> {data} have<end>",
    ),
    "time_in": (
        "what time is it in {city}?", "what time is it in {city}?", "<why> <hey> <time_is> <at> {city} <tail><end>", "<hey> <know> <time_thing> <at> {city} <tail><end>",
        "(tell|show) me <time_is> <at> {city} <tail><end>", "{city} time<end>", "time {city}", "<ask> (check|look up|tell me|get|find|show|read) <time_thing> <at> {city} <tail><end>",
        "<at> {city}, <time_is> <tail><end>", "{city}: <time_is><end>", "what's {city} time (now|right now|)<end>", "(my <person> lives|I live|we are|I am travelling|a friend is) in {city}, <time_is> (there|)<end>",
        "(I want to call|I have a call with|I am phoning) (someone|a friend|my <person>) in {city}, <time_is> (there|)<end>", "<word_salad> (time|date|clock|hour) <at> {city} <tail><end>",
        "which (day|date|time|hour|weekday) (is it|do they have|have they) (now|) <at> {city} <tail><end>", "how late is it <at> {city} <tail><end>", "(is it|would it be) (late|early|night|morning|day|dark already|noon) <at> {city} (now|at this hour|)<end>",
    ),
    "time": (
        "what time is it?", "<why> <hey> <time_is> <tail><end>", "<hey> <know> <time_thing> <tail><end>", "<ask> (check|look at|tell me|read|show) <time_thing> <tail><end>", "<why> <time_is> (now|right now|at the moment|currently)<end>",
    ),
    "read": (
        "read the file {path}", "read {path}<end>", "<why> <hey> <ask> <read_verb> <file> {path} <tail><end>", "<hey> <ask> <read_verb> {path} <tail><end>", "what does {path} say<end>", "what is in {path}<end>",
        "<hey> what (does|do|did) <file> {path} (say|contain|hold|have in it|tell us|include|mention) <tail><end>", "(what is|what's|whats|what stands|what is written|what do we have|is there anything) (in|inside|within) <file> {path} <tail><end>",
        "(I want|I need|I'd like|we need) (to read|to see|the contents of|the text of|what is in|a look at) <file> {path} <tail><end>", "{path}<end>", "{path}: (open it|read it|show it|contents|what does it say|what's in it)<end>", "<know> (the contents of|the content of|what is in|the text of) <file> {path} <tail><end>",
        "<word_salad> {path} <tail><end>", "(there is|I have|we have|I found|I wrote) (a file|) {path}, (what does it say|read it|show it to me|what is in it|open it)<end>", "how does {path} (begin|start|read|go)<end>",
    ),
    "list_folder": (
        "list {dir}", "ls {dir}", "<why> <hey> <ask> <list_verb> <things> <in> <folder> {dir} <tail><end>", "what is in the (folder|directory) {dir}<end>", "what files are (in|inside) (the folder|the directory|) {dir}<end>",
        "<hey> (what|which) (files|documents|entries|items|things) (are|do we have|exist|can be found|live|lie|sit|are there) <in> <folder> {dir} <tail><end>", "<ask> <list_verb> (the folder|the directory|folder|directory) {dir} <tail><end>",
        "what does the (folder|directory) {dir} (contain|hold|have|include)<end>", "<ask> list {dir} <tail><end>", "<ask> open the (folder|directory) {dir} <tail><end>", "<word_salad> (folder|directory|files in) {dir} <tail><end>",
        "<know> (the contents|the files|the content|the entries) of (the folder|the directory|the) {dir} (folder|directory|) <tail><end>", "(what is|what's|anything) in the {dir} (folder|directory)<end>", "<ask> <list_verb> <things> <in> the {dir} (folder|directory) <tail><end>",
        "<hey> (what|which) {ext} files are (in|inside|there in) <folder> {dir} <tail><end>", "<ask> <list_verb> (the|all|every|all the) {ext} (files|file) <in> <folder> {dir} <tail><end>", "(which|what) .{ext} files (does|has) <folder> {dir} (have|got|contain|hold)<end>",
        "<ask> <list_verb> (the|all|all the) (.|*.){ext} (files|documents) <in> <folder> {dir} <tail><end>", "(are there|do we have|find) (any|) {ext} files in (the folder|directory|) {dir}<end>",
    ),
    "list_workspace": (
        "what files are in the workspace?", "what files are in the workspace?", "<why> <hey> <ask> <list_verb> <things> <in> <workspace> <tail><end>", "(what|which) (files|documents|entries|items) (are|do we have|do I have|exist|are there) <in> <workspace> <tail><end>",
        "what is (in|inside) <workspace><end>", "ls", "<ask> list (the files|all files|files|everything) <tail><end>", "which files (do you have|do I have|can you see|are there|exist|can you read|have we got)<end>", "<ask> <list_verb> <workspace> <tail><end>", "<ask> <list_verb> (my|our|the available) (files|documents) <tail><end>",
        "<ask> <list_verb> (the|all|all the|my|every) (.|*.|){ext} (files|file) <tail><end>", "(which|what) (.|){ext} files (are there|are in the workspace|do I have|do we have|exist)<end>", "<ask> <list_verb> (the|all|all the) {ext} files <in> <workspace> <tail><end>", "(are there|do we have|is there|find) any {ext} (files|file) (here|)<end>",
    ),
    "hello": ("hello!", "hello", "hi", "hi!", "hey", "hello there", "good (morning|evening|afternoon|day)<end>", "hi there<end>", "(hello|hi|hey) {name}<end>", "greetings<end>", "(hello|hi|hey|hello,|hi,|hey,) (again|parley|model|friend|everyone|you|bot|computer)<end>", "howdy", "<hey> good (morning|day) to you<end>", "yo", "(nice|good|pleased) to (meet|see) you<end>", "welcome<end>", "hey hey", "hi, I am {name}<end>", "hello, my name is {name}<end>"),
    "thanks": ("thanks<end>", "thank you<end>", "thanks a lot<end>", "thank you (very much|so much|kindly|again|friend|for that|for the help|for everything)<end>", "(great|good|perfect|nice|super|cool|ok|wonderful), (thanks|thank you)<end>", "thx", "many thanks<end>", "that (helped|was helpful|helps), thanks<end>", "cheers", "much appreciated<end>", "I (am grateful|thank you|appreciate it|appreciate that)<end>", "thanks for (that|your help|the answer|helping)<end>", "you are (great|very kind|a great help)<end>", "well done<end>", "(good|great|nice) (job|work)<end>"),
    "bye": ("bye<end>", "goodbye<end>", "see you<end>", "see you (later|tomorrow|soon|again)<end>", "good night<end>", "farewell<end>", "bye bye<end>", "(I must go|I have to go|I am leaving|I am done|that is all), (bye|goodbye|see you)<end>", "until (tomorrow|later|next time)<end>", "take care<end>", "so long<end>", "have a (good|nice|great) (day|evening|night|weekend)<end>", "talk to you (later|soon)<end>"),
    "who": ("who are you<end>", "what are you<end>", "what is your name<end>", "<hey> (who|what) are you (exactly|really|anyway|)<end>", "(tell me|say) (who you are|your name|what you are|something about yourself|about yourself)<end>", "are you (a bot|human|a robot|a person|real|an AI|a machine|a model|alive|ChatGPT)<end>", "introduce yourself <tail><end>", "what's your name<end>", "which model (are you|is this|am I talking to)<end>", "what (kind|sort) of (model|thing|machine|bot|program) are you<end>", "(who|what) (am I talking to|is this|am I speaking with)<end>", "do you have a name<end>"),
    "can": ("what can you do<end>", "<hey> what can you do (for me|for us|here|)<end>", "help", "help me<end>", "what (tools|abilities|skills|functions) (do you have|are there|can you use|have you got)<end>", "how can you help (me|us|)<end>", "what (are you good at|do you know|are you able to do|can I ask|can I ask you|are you for|do you do)<end>", "(list|show|tell me|name) your (tools|abilities|skills|functions|features)<end>", "which (tools|skills) (do you have|can you use|do you know)<end>", "(tell me|show me|explain) what you can (do|help with)<end>", "what can I (do|ask) (here|you|)<end>", "how do (I use you|you work)<end>"),
    "how": ("how are you<end>", "how are you (today|doing|doing today|feeling|)<end>", "<hey> how (is it going|are things|do you do|is life|goes it)<end>", "how's it going<end>", "are you (well|ok|fine|okay|alright|good)<end>", "what's up<end>", "how do you feel <end>", "(hello|hi), how are you<end>", "all (well|good)<end>", "(is|are) (everything|you) (fine|okay|all right)<end>", "how was your (day|night|weekend)<end>"),
    "beyond": (
        "<know> the <topic> (of|in|for) (<subject>|{city}|{name})<end>", "<why> <hey> <know> the (best|oldest|biggest|first|last|next|cheapest|largest) <topic> (of|in|on|for) (<subject>|{city}|the world|{name})<end>",
        "<wh> <did> <subject> <verb><end>", "<wh> <did> the <topic> (of|in|for) (<subject>|{city}|{name})<end>", "<hey> <ask> <make> (<creation>|{word}) (about|for|on|with|of) (<subject>|my <person>)<end>", "<ask> <make> (me|us|) <creation> <tail><end>",
        "<wh> <did> (he|she|they|it|my <person>|people|you) <verb> (<subject>|{name}|) (in {num}|)<end>", "<wh> (won|wrote|painted|invented|discovered|made|built|founded|killed|owns|rules|leads) (the|) (<topic>|<subject>|{name}) (in {num}|in {city}|)<end>",
        "how (far|big|old|tall|deep|expensive|hot|cold|warm|good|heavy|fast|long|many people) (is|are|was) (<subject>|{city}|the <topic>|it in {city}|{name})<end>", "(will|does|did|is|was) it (rain|snow|going to rain|sunny|windy|hot|cold|warm) (in {city}|tomorrow|today|)<end>",
        "how is the (weather|food|traffic|<topic>) (in {city}|today|over there in {city})<end>", "<ask> translate {word} (to|into) (French|German|Spanish|Latin|English|Chinese)<end>", "(do you|why do people|do they) (like|love|know|believe in|remember|hate|prefer) (<subject>|{name}|{city})<end>", "what (do you think|is your opinion|can you say|do you know) (of|about|on) (<subject>|{name}|{city})<end>",
        "(what is|what are|who is|who was|where is|what was) (<subject>|{name}|a {word}|{word})<end>", "(I am|I feel) (sad|bored|hungry|tired|ill|lonely|happy|in love), what (now|should I do|can I do)<end>", "should I (buy|sell|eat|wear|visit|study|marry|call|trust) (<subject>|{name}|the {word}|my <person>)<end>", "<ask> (turn|switch) (on|off) the (light|heating|radio|{word})<end>",
        "how (do I|can I|to|should one|do people) (<make>|fix|grow|clean|learn|reach|<verb>) (<creation>|<subject>|the {word})<end>", "<hey> (tell|teach|show) me (something|a story|more|a fact|everything) (about|on) (<subject>|{name}|{city})<end>", "(tell me|do you know|have you got) (a|another|any good|one more) (joke|story|riddle|secret|poem|fact|trick)<end>", "what (happened|will happen) (in {num}|in {city}|to {name}|next|tomorrow|yesterday)<end>",
        "(when|where) (is|was|did) (<subject>|{name}|the <topic>|the next train to {city}|my <person>) (born|open|happen|start|end|)<end>", "(is|are) (<subject>|{name}|the <topic>) (good|true|alive|real|safe|healthy|dangerous|better than {word})<end>", "<wh> {word} {word2} {name}<end>", "{word} {word2}<end>", "{word} {word2} <subject><end>", "what (colour|sort|kind|brand|type) (is|of <topic> is|has) (<subject>|{name}|the {word})<end>",
    ),
    "repeat": ("repeat: {text}", "say: {text}", "copy this: {text}", "repeat after me: {text}", "echo {text}"),
    "add_to_that": ("<hey> (add|now add|and add|then add|please add|also add) {a} (to that|to it|to the result|) <end>", "(plus|and plus|that plus|now plus) {a}<end>", "(what if you|can you|could you|now|then|please|will you) add {a} (to that|to it|more|to the result|)<end>", "(and|) {a} more<end>", "increase (it|that|the result) by {a}<end>", "what is that plus {a}<end>", "add {a} to that", "+ {a}"),
    "take_from_that": ("(subtract|now subtract|take|now take|then take|please take|take away|deduct) {a} (from that|from it|from the result|away from that|) <end>", "(minus|and minus|that minus|now minus) {a}<end>", "what is that minus {a}<end>", "(reduce|decrease|lower) (it|that|the result) by {a}<end>", "{a} less<end>", "(can you|could you|now|then|will you) (subtract|take|remove) {a} (from that|from it)<end>", "- {a}"),
    "times_that": ("(multiply|now multiply|then multiply|please multiply) (that|it|the result|this) (by|with) {a} <tail><end>", "(times|and times|that times|now times) {a}<end>", "what is that times {a}<end>", "(can you|could you|now|then|will you) multiply (it|that|the result) by {a}<end>", "{a} times that<end>", "* {a}", "{a} times as much<end>"),
    "divide_that": ("(divide|now divide|then divide|please divide|split) (that|it|the result|this) (by|into|among) {a} <tail><end>", "(divided by|and divided by|that divided by|now divided by|over) {a}<end>", "what is that divided by {a}<end>", "(can you|could you|now|then|will you) (divide|split) (it|that|the result) by {a}<end>", "/ {a}", "(share|split) (that|it) (among|between) {a}<end>"),
    "and_op": ("(what about|and|how about|and what about|now|also|then|what is|and what is|give me|tell me|what's) the {op} <tail><end>", "and (the|their|its) {op}<end>", "{op}<end>", "(can you|could you|now|then|please|will you) (give me|compute|find|tell me|calculate) (the|their) {op} (too|as well|of those|of the same numbers|of them|)<end>", "(I need|I want|we need) the {op} (too|as well|also)<end>", "the {op} (too|as well|of that|of those) <end>"),
    "and_city": ("and in {city}<end>", "(what about|how about|and what about|and|and for|now|then|now for|also|same for) (in|) {city} <tail><end>", "in {city}<end>", "{city}<end>", "(and|) what time (is it|) in {city}<end>", "(can you|could you|please|will you) (do|check|try|look at) {city} (too|as well|now|)<end>", "(the same|same question|same again) for {city}<end>", "(my <person> is|and if I am|I also know someone) in {city}<end>"),
    "and_path": ("(and|what about|how about|and what about|now|then|also|next) {path} <tail><end>", "(now|then|and|also) (read|open|show|show me) {path}<end>", "{path}<end>", "(the same|same) (for|with) {path}<end>", "(can you|could you|please|will you) (do|read|open|check|show) {path} (too|as well|now|next|)<end>", "and what (does|is in) {path} (say|)<end>"),
    "and_dir": ("(and|what about|how about|and what about|now|then|also|next) (the folder|the directory|folder|directory|in the folder) {dir} <tail><end>", "(now|then|and|also) (list|show|show me) (the folder|) {dir}<end>", "(the same|same) (for|with|in) (the folder|folder|) {dir}<end>", "and (in|inside|within) {dir}<end>", "(can you|could you|please|will you) (do|list|check|show) (the folder|) {dir} (too|as well|now|next|)<end>", "and what is in {dir}<end>"),
    "open_first": ("(read|open|show|show me|now read|then open|please open|print|and read) the first (one|file|of them|entry|) <tail><end>", "what (does|is in) the first (one|file) (say|contain|)<end>", "(the first one|first one|the first file) (please|)<end>", "(can you|could you|now|will you) (open|read|show me) the first (one|file|of those)<end>", "(and|what about) the first (one|file)<end>", "(I want|let me) (to see|see|read|to read) the first (one|file)<end>"),
    "join": (" and ", ", and ", " and also ", ", then ", " and then ", "; ", ", also ", ". Also, ", " as well as ", ", plus: ", ". And ", "? And ", ", after that ", " - and ", ", next ", "; then "),
}  # fmt: skip

_SALAD = "tell show give me us please now the a my this that about of for need want what how is it you can do get got one some more help thing here there with on just so really maybe quickly".split()


def _salads() -> tuple[str, ...]:
    """Loose word orders, so that the argument's own look decides and not the words around it."""
    return tuple(
        " ".join(_SALAD[(start * 7 + step * k) % len(_SALAD)] for k in range(2 + start % 5))
        for start in range(len(_SALAD))
        for step in (3, 5, 11, 13)
    )


BOOK = Phrasebook(PATTERNS, {**RULES, "word_salad": _salads()})
